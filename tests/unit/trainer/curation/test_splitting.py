"""A conversation's side depends on its id, hardly on the others, and something is left on both sides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.shared.evaluation.bootstrap import LEAST_UNITS
from services.trainer.curation.splitting import LEAST_HELD_OUT, WANTED, held_out, place, refilled

PLACE = 0.002419
"""Of the conversation c1: another would move conversations of datasets that are there."""


@given(st.sets(st.text(min_size=1, max_size=8), max_size=60), st.floats(0.05, 0.95))
def test_both_sides_have_conversations(conversations: set[str], share: float) -> None:
    apart = held_out(conversations, share)
    assert apart <= conversations
    if len(conversations) >= 2:
        assert min(LEAST_HELD_OUT, len(conversations) // 2) <= len(apart) < len(conversations)
    else:
        assert not apart


def test_as_many_are_held_out_as_something_can_be_told_from() -> None:
    assert LEAST_HELD_OUT == LEAST_UNITS


def test_of_many_the_share_is_held_out() -> None:
    many = {f"c{at}" for at in range(2000)}
    assert 0.17 < len(held_out(many, 0.2)) / 2000 < 0.23


def test_no_conversation_changes_sides_when_others_come() -> None:
    before = {f"c{at}" for at in range(200)}
    after = before | {f"d{at}" for at in range(50)}
    assert held_out(after, 0.2) & before == held_out(before, 0.2)


def test_a_place_is_the_same_everywhere_and_always() -> None:
    assert round(place("c1"), 6) == PLACE
    assert place("c1") == place("c1") != place("c1", "salt")


def test_more_are_held_out_of_few() -> None:
    sizes = {count: len(held_out({f"c{at}" for at in range(count)}, 0.01)) for count in (4, 9, 10, 15, 16, 40)}
    assert sizes == {4: 2, 9: 4, 10: 6, 15: 7, 16: WANTED, 40: WANTED}


def test_what_nothing_is_left_of_is_trained_on_and_another_held_out() -> None:
    every = {f"c{at}" for at in range(10)}
    apart = held_out(every, 0.2)
    spent = sorted(apart)[:2]
    found = refilled(every, apart, lambda held: held - set(spent))
    assert len(found) == len(apart)
    assert len(found - set(spent)) >= LEAST_HELD_OUT
    assert refilled(every, apart, lambda held: held) == apart
    assert refilled(every, apart, lambda held: set()) == apart, "where nothing helps, it stays as it is"
