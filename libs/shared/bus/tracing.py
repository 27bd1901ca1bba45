"""Trace context in message headers: the one place where it is put in and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from libs.shared.bus.wire import Incoming
from libs.shared.errors import ServiceError

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_tracer = trace.get_tracer("mongars.bus")
_NO_SPAN: AbstractContextManager[None] = nullcontext()
"""One for all: most requests are in no trace, and a generator for each would cost more than the rest of this module."""


def trace_lines() -> bytes:
    """Header lines of the current trace; empty when there is none, so that no header block need be built."""
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return b""
    line = f"traceparent: 00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}\r\n"
    if current.trace_state:
        line += f"tracestate: {current.trace_state.to_header()}\r\n"
    return line.encode()


def remote_context(incoming: Incoming) -> SpanContext | None:
    """The caller's span, None without a well-formed ``traceparent``."""
    if incoming.raw is None or (told := incoming.header(TRACEPARENT)) is None:
        return None
    fields = told.split("-")
    if len(fields) < 4 or len(fields[1]) != 32 or len(fields[2]) != 16:
        return None
    try:
        ids = int(fields[1], 16), int(fields[2], 16), int(fields[3], 16)
    except ValueError:
        return None
    state = incoming.header(TRACESTATE)
    found = SpanContext(
        ids[0], ids[1], True, TraceFlags(ids[2]), TraceState.from_header([state]) if state else TraceState()
    )
    return found if found.is_valid else None


def client_span(name: str, kind: SpanKind = SpanKind.CLIENT) -> AbstractContextManager[None]:
    """A child of the current span when that one is recorded; costs next to nothing otherwise."""
    return _child(name, kind) if trace.get_current_span().is_recording() else _NO_SPAN


def server_span(
    name: str, incoming: Incoming, kind: SpanKind = SpanKind.SERVER
) -> AbstractContextManager[trace.Span | None]:
    """The caller's trace goes on: recorded when the caller's is, otherwise only known to logs and further calls."""
    remote = remote_context(incoming)
    return _NO_SPAN if remote is None else _going_on(name, remote, kind)


@contextmanager
def _child(name: str, kind: SpanKind) -> Iterator[None]:
    with _tracer.start_as_current_span(name, kind=kind, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield
        except ServiceError as error:
            _mark_failed(span, error.code)
            raise


@contextmanager
def _going_on(name: str, remote: SpanContext, kind: SpanKind) -> Iterator[trace.Span | None]:
    parent = trace.set_span_in_context(NonRecordingSpan(remote))
    if remote.trace_flags.sampled:
        with _tracer.start_as_current_span(
            name, context=parent, kind=kind, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span
        return
    token = otel.attach(parent)
    try:
        yield None
    finally:
        otel.detach(token)


def mark_failed(span: trace.Span | None, code: str) -> None:
    """Says on a server's span how the request was refused."""
    if span is not None:
        _mark_failed(span, code)


def _mark_failed(span: trace.Span, code: str) -> None:
    span.set_status(Status(StatusCode.ERROR, code))
    span.set_attribute("error.type", code)
