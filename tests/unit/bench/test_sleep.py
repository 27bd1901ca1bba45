"""The measure of a night: what counts as covered, and which contexts are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bench.locomo.data import Turn
from bench.sleep import coverage
from bench.sleep.coverage import NotWhole, check, covered, interval, shown
from libs.shared.contracts.memory import MemoryItem

AT = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
SAID = {
    "t1": Turn("t1", "c", "Caroline", "Hey Mel! I went to a group yesterday, and sang. It's fun!", AT),
    "t2": Turn("t2", "c", "Melanie", "I painted a lake.", AT),
}


def item(text: str, *sources: str, digest: bool = True) -> MemoryItem:
    return MemoryItem(
        id=sources[0] if sources else "t1",
        text=text,
        source_id="x",
        conversation_id="c",
        speaker="Caroline",
        at=AT,
        digest=digest,
        sources=sources,
    )


def test_the_words_of_an_answer_are_looked_for_in_the_context() -> None:
    assert covered("7 May 2023", "I went yesterday (7 May 2023).") == 1.0
    assert covered("7 May 2023", "2023-05-08, Caroline: I went yesterday.") == pytest.approx(1 / 3)
    assert covered("counselling groups", "She likes the group.") == 0.5


def test_naming_a_turn_covers_nothing() -> None:
    assert covered("a lake", shown([item("8 May 2023.", "t2")])) == 0.0


@pytest.mark.parametrize(
    "whole",
    [
        item("8 May 2023. Caroline: It's fun!", "t1"),
        item("8 May 2023. Caroline: I went to a group yesterday (7 May 2023), and sang. It's fun!", "t1"),
        item("8 May 2023. Caroline: It's fun! Melanie: I painted a lake.", "t1", "t2"),
        item(SAID["t1"].text, "t1", digest=False),
    ],
)
def test_whole_sentences_of_their_sources_are_taken(whole: MemoryItem) -> None:
    check([whole], SAID)


BROKEN = [
    item("8 May 2023. Caroline: I went to a group.", "t1"),
    item("8 May 2023. Caroline: group, sang, fun", "t1"),
    item("8 May 2023. Caroline: It's fun! I painted a lake.", "t1"),
    item("8 May 2023. Melanie: It's fun!", "t1"),
    item("8 May 2023. It's fun!", "t1"),
    item("Caroline: It's fun!", "t1"),
    item("8 May 2023.", "t1"),
    item("8 May 2023. Caroline: It's fun!"),
    item("8 May 2023. Caroline: It's fun!", "t9"),
    item("8 May 2023. Caroline: It's fun! Melanie:", "t1", "t2"),
    item("It's fun!", "t1", digest=False),
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_anything_else_is_refused(broken: MemoryItem) -> None:
    with pytest.raises(NotWhole):
        check([broken], SAID)


def test_a_validator_that_takes_any_words_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "_without_sentences", lambda text, _: "")
    with pytest.raises(pytest.fail.Exception):
        test_anything_else_is_refused(BROKEN[0])


def test_an_interval_of_differences_holds_their_mean() -> None:
    low, high = interval([0.1, 0.2, 0.0, 0.3] * 50)
    assert low < 0.15 < high
    assert interval([0.0] * 20) == (0.0, 0.0)
