"""A context of sentences: within its budget, whole, sourced, the telling ones first."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from libs.shared.contracts.digests import Digest
from libs.shared.contracts.memory import MemoryItem, MemoryKind
from services.cognition import composing
from services.cognition.composing import composed
from services.cognition.question import Question
from services.cognition.selection import Hit, tokens_of
from tests.unit.cognition.household import memory

DAY = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
QUESTION = Question("When did I see the lake?", ("see", "lake"), wants_time=True)
NORTH, EAST = struct.pack("<2f", 1, 0), struct.pack("<2f", 0, 1)


def hit(message_id: str, text: str, score: float = 0.5, **about: Any) -> Hit:
    return Hit(memory(message_id, text, at=DAY, **about).model_copy(update={"score": score}), evidence=score)


def digest(message_id: str, *told: str, vectors: bytes = b"") -> Digest:
    return Digest(message_id=message_id, sentences=told, vectors=vectors)


def texts(
    hits: list[Hit], digests: list[Digest], *, tokens: int = 300, most: int = 100, vector: bytes | None = None
) -> list[str]:
    made = {one.message_id: one for one in digests}
    return [item.text for item in composed(hits, made, QUESTION, vector, tokens=tokens, most=most)]


def test_what_one_day_s_memories_tell_stands_under_one_heading_in_its_order() -> None:
    hits = [hit("m2", "…", 0.5, speaker="Mel"), hit("m1", "…", 0.9, speaker="Zoé")]
    hits = [hits[1], Hit(hits[0].item.model_copy(update={"at": DAY + timedelta(minutes=1)}))]
    found = texts(hits, [digest("m1", "I saw the lake.", "It froze."), digest("m2", "I ran home.")])
    assert found == ["8 May 2023. Zoé: I saw the lake. It froze. Mel: I ran home."]


def test_an_item_says_what_it_is_made_of() -> None:
    (item,) = composed([hit("m1", "…")], {"m1": digest("m1", "I saw the lake.")}, QUESTION, None, tokens=99, most=9)
    assert (item.digest, item.sources, item.id, item.facts) == (True, ("m1",), "m1", ())


def test_what_was_said_after_the_night_stands_as_it_was_said() -> None:
    found = texts([hit("m1", "Hello!  I saw\nthe lake.", speaker="Mel")], [])
    assert found == ["8 May 2023. Mel: Hello! I saw the lake."]


def test_what_tells_nothing_is_left_out() -> None:
    assert texts([hit("m1", "Hello!")], [digest("m1")]) == []


def test_the_sentence_nearest_to_the_question_stands_where_one_fits() -> None:
    both = digest("m1", "The first thing is this.", "The other thing is that.", vectors=bytes([0, 100, 100, 0]))
    room = tokens_of("8 May 2023. User: The other thing is that.") + 2
    assert texts([hit("m1", "…")], [both], tokens=room, vector=NORTH) == ["8 May 2023. User: The other thing is that."]
    assert texts([hit("m1", "…")], [both], tokens=room, vector=EAST) == ["8 May 2023. User: The first thing is this."]


def test_of_two_sentences_that_tell_the_same_one_stands() -> None:
    hits = [hit("m1", "…", 0.9), hit("m2", "…", 0.8)]
    found = texts(hits, [digest("m1", "I saw the blue lake."), digest("m2", "I saw the blue lake!")])
    assert found == ["8 May 2023. User: I saw the blue lake."]


def test_a_passage_stands_under_its_document_s_name() -> None:
    passage = hit("m1", "…", kind=MemoryKind.PASSAGE, title="Lakes", page=3)
    assert texts([passage], [digest("m1", "It is deep.")]) == ["Lakes, p. 3. It is deep."]


def test_no_more_items_than_are_wanted() -> None:
    hits = [hit(f"m{n}", "…", conversation_id=f"c{n}") for n in range(4)]
    found = texts(hits, [digest(f"m{n}", f"Lake number {n} is called {'abcd'[n] * 5}.") for n in range(4)], most=2)
    assert len(found) == 2


words_ = st.text(alphabet="abcdefghij é", min_size=3, max_size=60).map(lambda text: " ".join(text.split()) + ".")


@settings(max_examples=60)
@example([(0, ["abc def ghij abc def."])], 10, 1)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.lists(words_, max_size=4)), max_size=12),
    st.integers(1, 120),
    st.integers(1, 5),
)
def check_the_budget_holds(told: list[tuple[int, list[str]]], tokens: int, most: int) -> None:
    hits = [hit(f"m{n}", "…", 1 / (n + 1), conversation_id=f"c{within}") for n, (within, _) in enumerate(told)]
    digests = {f"m{n}": digest(f"m{n}", *sentences) for n, (_, sentences) in enumerate(told)}
    items = composed(hits, digests, QUESTION, None, tokens=tokens, most=most)
    assert sum(tokens_of(item.text) for item in items) <= tokens
    assert len(items) <= most
    for item in items:
        _whole(item, digests)


def _whole(item: MemoryItem, digests: dict[str, Digest]) -> None:
    """Nothing but the heading, the speaker and whole sentences of the sources."""
    told = sorted((one for source in item.sources for one in digests[source].sentences), key=len, reverse=True)
    assert re.fullmatch(rf"8 May 2023\.(?: (?:User: )?(?:{'|'.join(map(re.escape, told))}))+", item.text), item.text


def test_the_budget_holds_whatever_is_told() -> None:
    check_the_budget_holds()


def test_reckoning_without_headings_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = composing._heading
    monkeypatch.setattr(composing, "_bytes", lambda text: 0 if text.endswith("2023.") else len(text.encode()))
    assert real is composing._heading
    with pytest.raises(AssertionError):
        check_the_budget_holds()
