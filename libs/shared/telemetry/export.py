"""Pushes the instruments to an OTLP collector now and then, from a thread; imported only where one is configured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from libs.shared.telemetry.instruments import Counter, Histogram, Instrument
from libs.shared.telemetry.metrics import INSTRUMENTS

INTERVAL_S = 15.0
TIMEOUT_S = 2.0

Rows = dict[tuple[str, ...], dict[str, float]]


def _rows(instrument: Instrument) -> Rows:
    """What is recorded, by label values: ``{"": value}``, or bucket bounds with ``_sum`` and ``_count``."""
    rows: Rows = {}
    family = instrument.kept.family
    for metric in family.collect():
        for sample in metric.samples:
            labels = dict(sample.labels)
            bound = labels.pop("le", "")
            suffix = bound or ("_sum" if sample.name.endswith("_sum") else "")
            rows.setdefault(tuple(labels.values()), {})[suffix] = sample.value
    return rows


def _attributes(instrument: Instrument, values: tuple[str, ...]) -> dict[str, str]:
    return {label.name: value for label, value in zip(instrument.kept.labels, values, strict=True) if value}


def _distribution(attributes: dict[str, str], row: dict[str, float], since: int, now: int) -> HistogramDataPoint:
    total, count = row.pop("_sum", 0.0), int(row.pop("", row["+Inf"]))
    cumulative = list(row.values())
    counts = [int(here - before) for here, before in zip(cumulative, [0.0, *cumulative], strict=False)]
    bounds = [float(bound) for bound in row if bound != "+Inf"]
    # The extremes are optional in OTLP, and prometheus_client keeps none.
    unknown: Any = None
    return HistogramDataPoint(attributes, since, now, count, total, counts, bounds, unknown, unknown)


def _metric(instrument: Instrument, since: int, now: int) -> Metric:
    cumulative = AggregationTemporality.CUMULATIVE
    rows = [(_attributes(instrument, values), row) for values, row in _rows(instrument).items()]
    data: HistogramData | Sum
    if isinstance(instrument, Histogram):
        data = HistogramData([_distribution(attributes, row, since, now) for attributes, row in rows], cumulative)
    else:
        points = [NumberDataPoint(attributes, since, now, row[""]) for attributes, row in rows]
        data = Sum(points, cumulative, is_monotonic=isinstance(instrument, Counter))
    return Metric(instrument.name, instrument.description, instrument.unit, data)


def snapshot(service: str, since: int, now: int) -> MetricsData:
    """Everything recorded since ``since`` (nanoseconds of the epoch, as ``now``), as OpenTelemetry's data model."""
    metrics = [_metric(instrument, since, now) for instrument in INSTRUMENTS]
    scope = ScopeMetrics(InstrumentationScope("mongars"), [m for m in metrics if m.data.data_points], "")
    return MetricsData([ResourceMetrics(Resource({"service.name": f"mongars-{service}"}), [scope], "")])


def push(service: str, exporter: MetricExporter, *, interval_s: float = INTERVAL_S) -> Callable[[], None]:
    """Exports every ``interval_s`` seconds and once more on stop, which it returns and which waits at most twice the
    exporter's timeout."""
    stopping = threading.Event()
    since = time.time_ns()

    def work() -> None:
        while not stopping.wait(interval_s):
            exporter.export(snapshot(service, since, time.time_ns()))
        exporter.export(snapshot(service, since, time.time_ns()))
        exporter.shutdown()

    thread = threading.Thread(target=work, name="metrics-export", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        thread.join(2 * TIMEOUT_S)

    return stop


def setup(service: str, endpoint: str) -> Callable[[], None]:
    """Pushes to the OTLP/HTTP collector at ``endpoint``."""
    exporter = OTLPMetricExporter(endpoint=endpoint.rstrip("/") + "/v1/metrics", timeout=TIMEOUT_S)
    return push(service, exporter)
