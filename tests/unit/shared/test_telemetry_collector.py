"""Spans and figures reach a collector by OTLP, and a collector that is away costs a stopping service a few seconds."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.context import Context
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from libs.shared import telemetry
from libs.shared.settings import ServiceSettings
from libs.shared.telemetry import metrics, tracer

STOP_WITHIN_S = 12.0


class Collector(ThreadingHTTPServer):
    """Takes what OTLP/HTTP brings."""

    def __init__(self) -> None:
        self.got: dict[str, list[bytes]] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    root, hooks = logging.getLogger(), (sys.excepthook, sys.unraisablehook, threading.excepthook)
    handlers, level = root.handlers, root.level
    yield
    root.handlers, sys.excepthook, sys.unraisablehook, threading.excepthook = handlers, *hooks
    root.setLevel(level)
    logging.captureWarnings(False)


def settings(endpoint: str) -> ServiceSettings:
    return ServiceSettings(otlp_endpoint=endpoint)


def test_what_happened_before_the_stop_has_reached_the_collector_after_it(collector: Collector) -> None:
    hits_labels = {"cache.name": "recall", "cache.layer": "kv"}
    metrics.CACHE_HITS.add(1, hits_labels)
    stop = telemetry.setup("cognition", settings(collector.url + "/"))
    with tracer.start_as_current_span("turn", Context()), tracer.start_as_current_span("recall"):
        metrics.CACHE_HITS.add(7, hits_labels)
    stop()
    assert set(collector.got) == {"/v1/traces", "/v1/metrics"}
    spans = ExportTraceServiceRequest.FromString(collector.got["/v1/traces"][-1]).resource_spans[0]
    assert {span.name for span in spans.scope_spans[0].spans} == {"turn", "recall"}
    assert ("service.name", "mongars-cognition") in {(a.key, a.value.string_value) for a in spans.resource.attributes}
    figures = ExportMetricsServiceRequest.FromString(collector.got["/v1/metrics"][-1]).resource_metrics[0]
    (hits,) = (m for m in figures.scope_metrics[0].metrics if m.name == "cache.hits")
    found = {tuple((a.key, a.value.string_value) for a in p.attributes): p.as_double for p in hits.sum.data_points}
    assert found[tuple(hits_labels.items())] >= 8


def test_a_ratio_of_none_still_records_what_arrives_sampled_and_nothing_else(collector: Collector) -> None:
    stop = telemetry.setup("api", ServiceSettings(otlp_endpoint=collector.url, trace_sample_ratio=0))
    with tracer.start_as_current_span("request", Context()):
        pass
    stop()
    assert set(collector.got) == {"/v1/metrics"}


@pytest.mark.parametrize("answers", [True, False], ids=["silent", "refusing"])
def test_a_collector_that_is_away_does_not_hold_a_stopping_service(answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if not answers:
            listening.close()
        stop = telemetry.setup("cognition", settings(f"http://127.0.0.1:{port}"))
        with tracer.start_as_current_span("turn", Context()):
            pass
        started = time.monotonic()
        stop()
        assert time.monotonic() - started < STOP_WITHIN_S
