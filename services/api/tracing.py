"""The trace that an HTTP request belongs to, from its ``traceparent``."""

from __future__ import annotations

import re

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from starlette.types import Scope

_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def context_from(scope: Scope) -> Context:
    """A context with the caller's span; without a well-formed header, one in which a trace begins."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return _remote(value)
    return Context()


def _remote(traceparent: bytes) -> Context:
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    span = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return trace.set_span_in_context(NonRecordingSpan(span), Context()) if span.is_valid else Context()
