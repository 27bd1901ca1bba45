"""One trace shows a turn's steps."""

from __future__ import annotations

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.shared.telemetry import tracer
from libs.shared.telemetry.traces import export_to
from tests.unit.cognition.conftest import Build, request
from tests.unit.cognition.household import whole


async def test_recall_placement_generation_and_keeping_stand_in_one_trace(household: Build) -> None:
    exporter = InMemorySpanExporter()
    stop = export_to("cognition", exporter, at_once=True)
    try:
        home = await household(whole)
        with tracer.start_as_current_span("asking"):
            await home.ask(request())
    finally:
        stop()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert {"recall", "place", "generate", "keep"} <= set(spans)
    assert len({spans[name].context.trace_id for name in ("asking", "recall", "place", "generate", "keep")}) == 1
    about = dict(spans["generate"].attributes or {})
    assert (about["gen_ai.request.model"], about["gen_ai.provider.name"]) == ("llama", "llama_cpp")
    assert "Rex" not in str([dict(span.attributes or {}) for span in exporter.get_finished_spans()])
