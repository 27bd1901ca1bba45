"""A trace goes through a process whether or not it is recorded there, and spans never say what an exception said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from libs.shared.errors import NoModel
from libs.shared.telemetry import tracer, traces
from tests.support.personal_data import CANARIES, assert_nothing_personal

Recording = Callable[[float], InMemorySpanExporter]


@pytest.fixture
def recording() -> Iterator[Recording]:
    stops: list[Callable[[], None]] = []

    def start(ratio: float) -> InMemorySpanExporter:
        exporter = InMemorySpanExporter()
        stops.append(traces.export_to("test", exporter, ratio=ratio, at_once=True))
        return exporter

    yield start
    for stop in stops:
        stop()


def arriving(*, sampled: bool) -> Context:
    """The context of a message whose ``traceparent`` says so."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return trace.set_span_in_context(NonRecordingSpan(SpanContext(7, 8, is_remote=True, trace_flags=flags)), Context())


@pytest.mark.parametrize("sampled", [True, False])
def test_a_trace_that_arrives_goes_on_where_nothing_is_recorded(sampled: bool) -> None:
    with tracer.start_as_current_span("serve", arriving(sampled=sampled)) as outer, tracer.start_as_current_span("in"):
        inner = trace.get_current_span()
    for span in (outer, inner):
        context = span.get_span_context()
        assert (context.trace_id, context.trace_flags.sampled) == (7, sampled)
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_trace_begins_with_an_id_even_where_nothing_is_recorded() -> None:
    with tracer.start_as_current_span("a", Context()) as first, tracer.start_as_current_span("b") as below:
        assert first.get_span_context().is_valid
        assert not first.is_recording()
        assert below.get_span_context() == first.get_span_context()
    with tracer.start_as_current_span("a", Context()) as second:
        assert second.get_span_context().trace_id != first.get_span_context().trace_id


def test_a_sampled_trace_is_recorded_with_its_parents(recording: Recording) -> None:
    exporter = recording(1.0)
    serving = tracer.start_as_current_span("serve", arriving(sampled=True), SpanKind.SERVER)
    with serving, tracer.start_as_current_span("recall", attributes={"k": 10}):
        pass
    recall, serve = exporter.get_finished_spans()
    assert (recall.name, serve.name, serve.kind) == ("recall", "serve", SpanKind.SERVER)
    assert recall.parent is not None
    assert serve.parent is not None
    assert (recall.parent.span_id, serve.parent.span_id) == (serve.context.span_id, 8)
    assert recall.context.trace_id == serve.context.trace_id == 7
    assert recall.attributes == {"k": 10}
    assert serve.resource.attributes["service.name"] == "mongars-test"


def test_the_caller_s_decision_not_to_sample_is_kept(recording: Recording) -> None:
    exporter = recording(1.0)
    with tracer.start_as_current_span("serve", arriving(sampled=False)), tracer.start_as_current_span("recall"):
        pass
    assert exporter.get_finished_spans() == ()


def test_the_ratio_decides_for_traces_that_begin_here_alone(recording: Recording) -> None:
    exporter = recording(0.2)
    for _ in range(2000):
        with tracer.start_as_current_span("root", Context()), tracer.start_as_current_span("child"):
            pass
    spans = exporter.get_finished_spans()
    roots = [span for span in spans if span.name == "root"]
    assert len(spans) == 2 * len(roots)
    assert 280 < len(roots) < 530  # 400 ± 7 standard deviations
    with tracer.start_as_current_span("serve", arriving(sampled=True)):
        pass
    assert exporter.get_finished_spans()[-1].name == "serve"


@pytest.mark.parametrize(("error", "kind"), [(KeyError(CANARIES.name), "KeyError"), (NoModel("none"), "no_model")])
def test_a_failed_span_is_marked_by_the_error_s_kind_alone(recording: Recording, error: Exception, kind: str) -> None:
    exporter = recording(1.0)
    with pytest.raises(type(error)), tracer.start_as_current_span("failing", Context()):
        raise error
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes == {"error.type": kind}
    assert span.events == ()
    assert_nothing_personal(span.to_json())


def test_of_the_test__the_sdk_s_own_tracer_tells_the_exception(recording: Recording) -> None:
    exporter = recording(1.0)
    recorder = tracer._recorder
    assert recorder is not None
    with pytest.raises(KeyError), recorder.start_as_current_span("failing", Context()):
        raise KeyError(CANARIES.name)
    with pytest.raises(AssertionError, match="name"):
        assert_nothing_personal(exporter.get_finished_spans()[0].to_json())


def test_a_tracer_of_opentelemetry_s_api_is_the_same_one(recording: Recording) -> None:
    exporter = recording(1.0)
    theirs = trace.get_tracer("some.library").start_as_current_span("theirs", Context())
    with theirs, tracer.start_as_current_span("ours"):
        pass
    assert [span.name for span in exporter.get_finished_spans()] == ["ours", "theirs"]


def test_after_the_stop_nothing_is_recorded(recording: Recording) -> None:
    exporter = InMemorySpanExporter()
    traces.export_to("test", exporter, at_once=True)()
    with tracer.start_as_current_span("late", Context()) as span:
        assert not span.is_recording()
    assert exporter.get_finished_spans() == ()


def test_a_process_without_a_collector_loads_neither_sdk_nor_exporter() -> None:
    code = (
        "import sys, json; from libs.shared.settings import ServiceSettings; from libs.shared import telemetry;"
        "telemetry.setup('api', ServiceSettings()); telemetry.metrics_text();"
        "print(json.dumps([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == []
