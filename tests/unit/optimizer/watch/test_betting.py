"""The bet that turns are worse: seldom wrong, however often it is looked at, and quick where something is worse."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.optimizer.watch import betting
from services.optimizer.watch.betting import bet, less_is_worse, more_is_worse, paired

ALARM = 300.0
TRIALS = 2000
LONG = 300


def highest(draw: random.Random, shift: float) -> float:
    """The wealth at its highest over a whole watch, of seconds that vary as those of answers do."""
    before = [draw.lognormvariate(0.0, 0.6) for _ in range(LONG)]
    after = [draw.lognormvariate(shift, 0.6) for _ in range(LONG)]
    return bet(paired(before, after, more_is_worse(0.25, 0.05))).wealth


def false_alarms() -> float:
    draw = random.Random(1)
    return sum(highest(draw, 0.0) >= ALARM for _ in range(TRIALS)) / TRIALS


def test_where_nothing_changed_an_alarm_is_as_rare_as_it_says_over_the_whole_watch() -> None:
    assert false_alarms() <= 1 / ALARM + 2 * (1 / ALARM / TRIALS) ** 0.5


def test_without_pairs_in_a_fixed_order_of_chance_alarms_would_be_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for the worst order is what a bet must not do."""
    real = betting.bet
    monkeypatch.setattr("tests.unit.optimizer.watch.test_betting.bet", lambda rows: real(sorted(rows, reverse=True)))
    assert false_alarms() > 0.5


def test_what_doubles_is_seen_within_a_hundred_turns() -> None:
    draw = random.Random(2)
    assert sum(highest(draw, 0.7) >= ALARM for _ in range(200)) >= 190


def test_where_every_turn_is_worse_twelve_are_enough() -> None:
    assert bet([1] * 12).wealth >= ALARM


def test_turns_that_are_better_give_no_alarm() -> None:
    assert bet([-1] * 200).wealth == 1.0


@given(st.lists(st.sampled_from((-1, 0, 1)), max_size=200))
def test_more_turns_never_take_an_alarm_back(differences: list[int]) -> None:
    wealths = [bet(differences[:seen]).wealth for seen in range(len(differences) + 1)]
    assert wealths == sorted(wealths)


@given(st.lists(st.floats(0, 10), min_size=1), st.lists(st.floats(0, 10), min_size=1))
def test_a_later_look_is_at_the_same_pairs(before: list[float], after: list[float]) -> None:
    whole = paired(before, after, less_is_worse(0.1))
    assert len(whole) == min(len(before), len(after))
    assert paired(before, after[:-1], less_is_worse(0.1)) == whole[: min(len(before), len(after) - 1)]


@given(st.floats(0, 100), st.floats(0, 100))
def test_no_turn_is_worse_both_ways(one: float, other: float) -> None:
    for worse in (more_is_worse(0.25, 0.05), less_is_worse(0.05)):
        assert worse(one, other) == -worse(other, one)
        assert worse(one, one) == 0
