"""A real, tiny model under a real grammar: its answers keep to the form, and nothing unsupported is believed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.shared.contracts.memory import MemoryKind
from services.cognition.extraction.by_model import ATTRIBUTES, MOST_FACTS, believed, question
from services.cognition.searchable import Text
from services.inference.backends.llama_cpp import LlamaCppBackend
from services.inference.models import ModelSpec
from tests.support import language_model

SAID = "We finally settled down in Porto. My knee hurts, and the doctor calls it tendonitis."


@pytest.fixture
async def tiny(tmp_path: Path) -> AsyncIterator[LlamaCppBackend]:
    path = language_model.cached() / language_model.GGUF_FILE
    spec = ModelSpec(name="tiny", backend="llama_cpp", path=path)
    backend = LlamaCppBackend(
        spec,
        default_context_tokens=1024,
        threads=1,
        available_mib=lambda: 8192.0,
        folder=tmp_path,
        loads=tmp_path / "loads",
    )
    await backend.load(lambda: None)
    yield backend
    await backend.close()


async def test_answers_keep_to_the_form_and_only_what_the_text_says_is_believed(tiny: LlamaCppBackend) -> None:
    said = Text("m1", MemoryKind.MESSAGE, "user", SAID, datetime(2026, 5, 1, tzinfo=UTC))
    request = question(said, model="tiny", request_id="r1")
    answer = "".join([chunk.text async for chunk in tiny.generate(request)])
    try:
        facts = json.loads(answer)["facts"]
    except json.JSONDecodeError:
        facts = None  # cut off at its last token: no answer, and nothing is believed
    if facts is not None:
        assert len(facts) <= MOST_FACTS
        assert {fact["attribute"] for fact in facts} <= set(ATTRIBUTES)
    assert answer.startswith("{")
    drawn = believed(answer, said, [])
    assert all(one.text in SAID and one.value in one.text for one in drawn)
