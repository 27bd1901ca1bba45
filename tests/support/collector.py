"""An OTLP/HTTP collector that keeps what it is sent, for tests that look at whole traces."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class SeenSpan:
    """One exported span."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    attributes: str
    """As text, for looking through."""


@dataclass
class Collector:
    """What has arrived so far. ``url`` is what MONGARS_OTLP_ENDPOINT should say."""

    url: str
    _spans: list[SeenSpan] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add(self, body: bytes) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        with self._lock:
            for resource in request.resource_spans:
                service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                for scope in resource.scope_spans:
                    self._spans += [
                        SeenSpan(
                            s.trace_id.hex(),
                            s.span_id.hex(),
                            s.parent_span_id.hex(),
                            service,
                            s.name,
                            str(s.attributes),
                        )
                        for s in scope.spans
                    ]

    def spans(self) -> list[SeenSpan]:
        with self._lock:
            return list(self._spans)

    def trace(self, trace_id: str) -> list[SeenSpan]:
        """The spans of one trace that have arrived."""
        return [span for span in self.spans() if span.trace_id == trace_id]


def _seen(service: str, span: Span) -> SeenSpan:
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    return SeenSpan(*ids, service, span.name, str(span.attributes))


@contextmanager
def collector() -> Iterator[Collector]:
    """One on a free port of the loopback, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path.endswith("/v1/traces"):
                seen.add(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Tests print what they need."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
