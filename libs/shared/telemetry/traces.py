"""Spans across services: recorded where a collector is configured, else only their ids flow, at next to no cost."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

EXPORT_TIMEOUT_S = 2
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_generator = random.Random()  # noqa: S311, trace ids identify and protect nothing


def _unrecorded_root() -> Span:
    trace_id, span_id = _generator.getrandbits(128) or 1, _generator.getrandbits(64) or 1
    return NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=False, trace_flags=_NOT_SAMPLED))


class _Current:
    """Makes a span current inside ``with`` and ends it; a failure is marked by its type, never by its message."""

    __slots__ = ("_context", "_span", "_token")

    def __init__(self, span: Span, context: Context | None) -> None:
        self._span, self._context = span, context
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


class Tracer:
    """OpenTelemetry's tracer, with its methods and arguments, that skips the SDK for what is not sampled."""

    def __init__(self) -> None:
        self._recorder: trace.Tracer | None = None
        self._sampled: Callable[[], bool] = lambda: False

    def record_with(self, recorder: trace.Tracer | None, sampled: Callable[[], bool]) -> None:
        """Sends sampled spans to ``recorder``; ``sampled`` decides for a trace that begins here."""
        self._recorder, self._sampled = recorder, sampled

    def _records(self, parent: SpanContext) -> bool:
        if self._recorder is None:
            return False
        return parent.trace_flags.sampled if parent.is_valid else self._sampled()

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Span:
        """A span that is not made current; the caller ends it."""
        parent = trace.get_current_span(context)
        if self._recorder is not None and self._records(parent.get_span_context()):
            return self._recorder.start_span(
                name, context, kind, attributes, record_exception=False, set_status_on_exception=False
            )
        return parent if parent.get_span_context().is_valid else _unrecorded_root()

    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> _Current | _Unchanged:
        """``with tracer.start_as_current_span("recall") as span:``"""
        span = self.start_span(name, context, kind, attributes)
        if context is None and span is trace.get_current_span():
            return _Unchanged(span)
        return _Current(span, context)


tracer = Tracer()


def _provider(service: str, ratio: float, exporter: SpanExporter, *, at_once: bool) -> TracerProvider:
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
    provider = _provider(service, ratio, exporter, at_once=at_once)
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
