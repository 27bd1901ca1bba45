"""Spans across services: recorded where a collector is configured, else only their ids flow, at next to no cost."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from contextvars import Token
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

EXPORT_TIMEOUT_S = 2
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_generator = random.Random()  # noqa: S311, trace ids identify and protect nothing
os.register_at_fork(after_in_child=_generator.seed)  # or parent and child would go on with the same ids


def _unrecorded_root() -> Span:
    trace_id, span_id = _generator.getrandbits(128) or 1, _generator.getrandbits(64) or 1
    return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=_NOT_SAMPLED))


class _Current:
    """Makes a span current inside ``with`` and ends it; a failure is marked by its type, never by its message."""

    __slots__ = ("_context", "_end", "_span", "_token")

    def __init__(self, span: Span, context: Context | None, end: bool) -> None:
        self._span, self._context, self._end = span, context, end
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        self._token = contexts.attach(trace.set_span_in_context(self._span, self._context))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            contexts.detach(self._token)
        if kind is not None and issubclass(kind, Exception) and self._span.is_recording():
            self._span.set_attribute("error.type", getattr(error, "code", kind.__qualname__))
            self._span.set_status(Status(StatusCode.ERROR))
        if self._end:
            self._span.end()


class _Unchanged:
    """The span that is current already, neither entered nor ended: all that an unsampled child needs."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        return self._span

    def __exit__(self, *_: object) -> None:
        return None


class Tracer(trace.Tracer):
    """OpenTelemetry's tracer that skips the SDK for what is not sampled, and never records what an exception says."""

    def __init__(self) -> None:
        self._recorder: trace.Tracer | None = None
        self._sampled: Callable[[], bool] = lambda: False

    def record_with(self, recorder: trace.Tracer | None, sampled: Callable[[], bool]) -> None:
        """Sends sampled spans to ``recorder``; ``sampled`` decides for a trace that begins here."""
        self._recorder, self._sampled = recorder, sampled

    def _recorder_for(self, parent: SpanContext) -> trace.Tracer | None:
        if self._recorder is None:
            return None
        sampled = parent.trace_flags.sampled if parent.is_valid else self._sampled()
        return self._recorder if sampled else None

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """A span that is not made current; the caller ends it. The last two arguments change nothing here."""
        parent = trace.get_current_span(context)
        parent_context = parent.get_span_context()
        recorder = self._recorder_for(parent_context)
        if recorder is not None:
            return recorder.start_span(name, context, kind, attributes, links, start_time, False, False)
        return parent if parent_context.is_valid else _unrecorded_root()

    # Entering and leaving a generator, as the base class would have it, costs more than the rest of an unsampled span.
    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> _Current | _Unchanged:
        """``with tracer.start_as_current_span("recall") as span:``"""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        if context is None and span is trace.get_current_span():
            return _Unchanged(span)
        return _Current(span, context, end_on_exit)


tracer = Tracer()


class _Ours(trace.TracerProvider):
    """Whoever asks OpenTelemetry's API for a tracer, libraries included, gets the same one."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        return tracer


@cache
def _install() -> None:
    trace.set_tracer_provider(_Ours())


def _provider(service: str, exporter: SpanExporter, *, at_once: bool) -> TracerProvider:
    # Imported here: a process that exports nothing keeps the SDK out of its memory.
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource({"service.name": f"mongars-{service}"}), shutdown_on_exit=False)
    processor = SimpleSpanProcessor(exporter) if at_once else BatchSpanProcessor(exporter, max_queue_size=2048)
    provider.add_span_processor(processor)
    return provider


def export_to(service: str, exporter: SpanExporter, *, ratio: float = 1.0, at_once: bool = False) -> Callable[[], None]:
    """Records a ``ratio`` of the traces that begin here, and every sampled one that arrives; returns the stop.

    ``at_once`` exports each span as it ends: for tests, with the SDK's in-memory exporter.
    """
    _install()
    provider = _provider(service, exporter, at_once=at_once)
    tracer.record_with(provider.get_tracer("mongars"), lambda: _generator.random() < ratio)

    def stop() -> None:
        tracer.record_with(None, lambda: False)
        provider.shutdown()

    return stop


def setup(service: str, endpoint: str | None, ratio: float) -> Callable[[], None]:
    """Exports to the OTLP/HTTP collector at ``endpoint``, when there is one; returns the stop, which flushes."""
    if endpoint is None:
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter: Any = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=EXPORT_TIMEOUT_S)
    return export_to(service, exporter, ratio=ratio)
