"""What is handed on: few repetitions, nothing stale above what is newer, no more than fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cognition import selection
from services.cognition.selection import Hit, distinct, spread_out, tokens_of, within
from tests.unit.cognition.evidence import hit

MOVED = "I moved to the old harbour of Marseille with my two cats and a piano"


def ids(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.item.id for hit in hits]


def check_repetitions_make_room() -> None:
    hits = (hit("a", MOVED, score=0.9), hit("b", MOVED + "!", score=0.8), hit("c", "It rains in Lyon.", score=0.6))
    assert ids(spread_out(hits, 0.5)) == ["a", "c", "b"]


def test_what_repeats_a_better_one_makes_room() -> None:
    check_repetitions_make_room()


def test_repetitions_that_cost_nothing_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_repeats", lambda *_: 0.0)
    with pytest.raises(AssertionError):
        check_repetitions_make_room()


def test_a_loss_is_told_and_parts_add_up() -> None:
    lost = spread_out((hit("a", MOVED, score=0.9), hit("b", MOVED, score=0.8)), 0.5)[1].item
    assert lost.parts["repetition"] == pytest.approx(-0.4)
    assert lost.score == pytest.approx(sum(lost.parts.values()))


def test_what_supersedes_is_lifted_here_too_and_the_lift_told() -> None:
    newer, older = hit("new", "I moved to Rome.", score=0.2), hit("old", MOVED, score=0.8, superseded_by="new")
    first, second = spread_out((older, newer), 0.5)
    assert (first.item.id, second.item.score) == ("new", 0.8)
    assert first.item.parts["superseding"] == pytest.approx(0.6, abs=0.001)
    assert "repetition" not in first.item.parts
    assert [h.item.id for h in spread_out((older, newer), 0.5, past=True)] == ["old", "new"]


def test_what_supersedes_is_no_repetition_and_stays_above() -> None:
    newer, older = hit("new", MOVED, score=0.9), hit("old", MOVED, score=0.8, superseded_by="new")
    assert [h.item.score for h in spread_out((newer, older), 0.5)] == [0.9, 0.8]
    like = hit("like", MOVED, score=0.95)
    assert ids(spread_out((like, newer, older), 0.5)).index("new") < ids(spread_out((like, newer, older), 0.5)).index(
        "old"
    )


texts = st.sampled_from((MOVED, MOVED + " again", "It rains.", "My dog is called Rex.", ""))


@given(st.lists(st.tuples(texts, st.floats(0, 1)), max_size=12), st.floats(0, 1))
def test_nothing_is_lost_or_made_up(found: list[tuple[str, float]], repetition: float) -> None:
    hits = tuple(hit(f"m{n}", text, score=score) for n, (text, score) in enumerate(found))
    out = spread_out(hits, repetition)
    assert sorted(ids(out)) == sorted(ids(hits))
    assert [h.item.score for h in out] == sorted((h.item.score for h in out), reverse=True)


def test_what_was_said_twice_stands_once_and_the_best_stays() -> None:
    hits = (hit("new", "It rains.", score=0.9), hit("old", "it  rains.", score=0.9), hit("other", "It pours."))
    assert ids(distinct(hits)) == ["new", "other"]


@given(st.lists(st.text(max_size=300), max_size=12), st.integers(1, 400))
def test_a_budget_is_never_exceeded_and_what_fits_is_taken(said: list[str], tokens: int) -> None:
    hits = tuple(hit(f"m{n}", text) for n, text in enumerate(said))
    taken = within(hits, tokens)
    used = sum(tokens_of(h.item.text) for h in taken)
    assert used <= tokens
    left = [h for h in hits if h not in taken]
    assert all(tokens_of(h.item.text) > tokens - used for h in left)
