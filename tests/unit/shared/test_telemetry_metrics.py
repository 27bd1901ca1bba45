"""Metrics have the conventions' names, labels that stay few and impersonal, and the same figures in both formats."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, MetricExportResult, MetricsData
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from libs.shared.telemetry import export, metrics
from libs.shared.telemetry.instruments import Counter, Histogram, Label, UpDownCounter
from tests.support.personal_data import CANARIES, assert_nothing_personal


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of an exposition; fails where the text isn't one."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def counter(*labels: Label) -> tuple[Counter, Callable[[], set[tuple[str, ...]]]]:
    made = Counter(CollectorRegistry(), "tried", "", *labels)

    def series() -> set[tuple[str, ...]]:
        return {tuple(s.labels.values()) for metric in made.kept.family.collect() for s in metric.samples}

    return made, series


@pytest.mark.parametrize(
    "name",
    [
        "gen_ai_client_operation_duration_seconds",
        "gen_ai_client_token_usage",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
        "llm_ray_requests_total",
        "llm_ray_successes_total",
        "llm_ray_failures_total",
        "llm_ray_fallbacks_total",
        "llm_ray_latency_seconds",
        "cache_hits_total",
        "cache_misses_total",
        "cache_evictions_total",
        "scheduler_decisions_total",
        "http_server_request_duration_seconds",
        "process_resident_memory_bytes",
    ],
)
def test_every_metric_of_the_architecture_is_exposed(name: str) -> None:
    assert re.search(rf"^# TYPE {name} (counter|histogram|gauge)$", metrics.metrics_text(), re.MULTILINE)


def test_what_is_recorded_is_exposed_under_the_service_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_service", "scheduler")
    decisions = ("scheduler_decisions_total", (("reason", "saturated"), ("service", "scheduler")))
    model = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "only-in-this-test"}
    before = samples(metrics.metrics_text()).get(decisions, 0)
    metrics.SCHEDULER_DECISIONS.add(2, {"reason": "saturated"})
    metrics.TOKEN_USAGE.record(300, model)
    found = samples(metrics.metrics_text())
    assert found[decisions] == before + 2
    usage = {
        float(dict(labels)["le"]): value
        for (name, labels), value in found.items()
        if name == "gen_ai_client_token_usage_bucket" and ("gen_ai_request_model", "only-in-this-test") in labels
    }
    assert usage == {float(bound): float(bound >= 300) for bound in (*metrics._TOKENS, float("inf"))}
    assert_nothing_personal(metrics.metrics_text())


def test_a_value_that_a_label_does_not_know_becomes_other() -> None:
    made, series = counter(Label("reason", frozenset({"timeout"})))
    for value in ("timeout", CANARIES.name, CANARIES.email, "", "other"):
        made.add(1, {"reason": value})
    assert series() == {("timeout",), ("other",)}


def test_an_absent_value_and_an_undeclared_label_are_empty_and_ignored() -> None:
    made, series = counter(Label("reason", frozenset({"timeout"})))
    made.add(1)
    made.add(1, {"user": CANARIES.name})
    assert series() == {("",)}


def test_learned_labels_take_few_values_and_only_such_as_look_like_names() -> None:
    made, series = counter(Label("model", learns=5))
    made.add(1, {"model": f"my model of {CANARIES.name}"})
    for number in range(100):
        made.add(1, {"model": f"org/model:{number}"})
    made.add(1, {"model": "org/model:0"})
    assert series() == {("other",), *((f"org/model:{n}",) for n in range(5))}


def test_the_memory_of_an_instrument_is_bounded_by_its_labels() -> None:
    made, _ = counter(Label("reason", frozenset({"timeout"})), Label("model", learns=2))
    for number in range(1000):
        made.add(1, {"reason": str(number), "model": str(number)})
        made.add(1, {"reason": number, "model": [str(number)]})
    assert len(made.kept._children) <= 8


def test_of_the_test__a_label_without_its_guard_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Label, "bounded", lambda self, value: str(value))
    made, series = counter(Label("reason", frozenset({"timeout"})))
    for number in range(1000):
        made.add(1, {"reason": str(number)})
    assert len(series()) == len(made.kept._children) == 1000


def test_numbers_are_shown_as_text() -> None:
    made, series = counter(metrics.STATUS)
    made.add(1, {"http.response.status_code": 200})
    made.add(1, {"http.response.status_code": "200"})
    made.add(1, {"http.response.status_code": 1_000_000})
    assert series() == {("200",), ("other",)}


def test_counting_from_many_threads_loses_nothing() -> None:
    made, _ = counter(Label("model"))

    def work() -> None:
        for _ in range(2000):
            made.add(1, {"model": "m"})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (sample,) = (s for metric in made.kept.family.collect() for s in metric.samples)
    assert sample.value == 16_000


def test_expositions_of_several_processes_become_one() -> None:
    first = '# HELP a_total A\n# TYPE a_total counter\na_total{service="api"} 1.0\n# HELP b B\n# TYPE b gauge\nb 3.0\n'
    second = '# HELP a_total A\n# TYPE a_total counter\na_total{service="cognition"} 2.0\n'
    assert samples(metrics.merge_metrics([first, second, ""])) == {
        ("a_total", (("service", "api"),)): 1.0,
        ("a_total", (("service", "cognition"),)): 2.0,
        ("b", ()): 3.0,
    }


def test_every_label_of_every_instrument_is_bounded() -> None:
    assert len(metrics.INSTRUMENTS) >= 14
    for instrument in metrics.INSTRUMENTS:
        for label in instrument.kept.labels:
            shown = {label.bounded(f"value-{number}") for number in range(10_000)}
            assert len(shown) <= 129, (instrument.name, label.name)


def _exported(data: MetricsData) -> dict[str, object]:
    return {m.name: m.data for r in data.resource_metrics for scope in r.scope_metrics for m in scope.metrics}


def test_the_collector_gets_the_same_figures_as_opentelemetry_s_own_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.metrics import MeterProvider

    reader, registry = InMemoryMetricReader(), CollectorRegistry()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("theirs")
    bounds, label = (0.1, 1.0, 10.0), Label("kind", frozenset({"a", "b"}))
    ours = (
        Counter(registry, "tried", "", label),
        UpDownCounter(registry, "open", "", label),
        Histogram(registry, "took", "", label, unit="s", bounds=bounds),
    )
    theirs = (
        meter.create_counter("tried"),
        meter.create_up_down_counter("open"),
        meter.create_histogram("took", explicit_bucket_boundaries_advisory=bounds),
    )
    for tried, opened, took in (ours, theirs):
        for value, kind in ((0.05, "a"), (1.0, "a"), (50.0, "b")):
            tried.add(value, {"kind": kind})
            took.record(value, {"kind": kind})
            opened.add(-value, {"kind": kind})
    monkeypatch.setattr(export, "INSTRUMENTS", ours)
    expected = reader.get_metrics_data()
    assert expected is not None
    assert _points(export.snapshot("test", 0, 1)) == _points(expected)


def _points(data: MetricsData) -> dict[str, list[object]]:
    fields = ("value", "count", "sum", "bucket_counts", "explicit_bounds")
    found: dict[str, list[object]] = {}
    for name, metric in _exported(data).items():
        flags = [getattr(metric, "aggregation_temporality", None), getattr(metric, "is_monotonic", None)]
        found[name] = [
            *flags,
            *sorted(
                str((dict(p.attributes or {}), [_plain(getattr(p, field, None)) for field in fields]))
                for p in metric.data_points  # type: ignore[attr-defined]
            ),
        ]
    return found


def _plain(value: object) -> object:
    return [float(item) for item in value] if isinstance(value, list | tuple) else value


class _Collector(MetricExporter):
    def __init__(self) -> None:
        super().__init__()
        self.got: list[MetricsData] = []
        self.second = threading.Event()
        self.closed = False

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: object) -> MetricExportResult:
        self.got.append(metrics_data)
        if len(self.got) == 2:
            self.second.set()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: object) -> None:
        self.closed = True


def test_figures_are_pushed_now_and_then_and_once_more_at_the_end() -> None:
    collector, reason = _Collector(), {"reason": "refused"}
    metrics.LLM_FALLBACKS.add(1, reason)
    stop = export.push("test", collector, interval_s=0.01)
    assert collector.second.wait(5)
    metrics.LLM_FALLBACKS.add(41, reason)
    stop()
    assert collector.closed
    first, *_, last = [
        point.value
        for data in collector.got
        for point in _exported(data)["llm.ray.fallbacks"].data_points  # type: ignore[attr-defined]
        if point.attributes == reason
    ]
    assert last - first == 41
