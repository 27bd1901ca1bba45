"""Conversations that try something out, held against others of the same time."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.ledger import Trial
from libs.shared.contracts.watching import Arm, TurnMeasured, TurnRated
from libs.shared.shares import arm_of
from services.optimizer.watch.arms import MOST_PAIRS, MOST_WAITING, Arms
from services.optimizer.watch.guardrails import compare
from services.optimizer.watch.turns import LatestTurns
from tests.unit.optimizer.watch.test_guardrails import START, change

TRIALS = 200
CONVERSATIONS = 500
TURNS = 4


def turn(tried: bool, *, second: float = 0.0, again: bool = False, **measures: float) -> TurnMeasured:
    began = START + timedelta(seconds=second)
    about = {"began": began, "arm": Arm(change_id="c1", tried=tried), "again": again}
    return TurnMeasured.model_validate(about | measures)


@given(st.lists(st.booleans(), max_size=300))
def test_each_turn_is_in_one_pair_at_most_and_a_later_look_is_at_the_same_pairs(sides: list[bool]) -> None:
    arms, before = Arms(), Arms().pairs
    for second, tried in enumerate(sides):
        arms.take(turn(tried, second=second))
        assert arms.pairs[: len(before)] == before
        before = list(arms.pairs)
    used = [one.began for pair in arms.pairs for one in pair] + [one.began for one in arms.waiting]
    assert len(used) == len(set(used)) <= len(sides)
    assert all(one.arm and other.arm and (one.arm.tried, other.arm.tried) == (False, True) for one, other in arms.pairs)
    if len(arms.waiting) < MOST_WAITING:
        assert len(arms.pairs) == min(sum(sides), len(sides) - sum(sides))


def test_what_is_kept_of_a_trial_is_bounded() -> None:
    arms = Arms()
    for _ in range(MOST_PAIRS + MOST_WAITING):
        arms.take(turn(False))
        arms.take(turn(True))
    for _ in range(2 * MOST_WAITING):
        arms.take(turn(False))
    assert (len(arms.pairs), len(arms.waiting)) == (MOST_PAIRS, 0)
    for _ in range(2 * MOST_WAITING):
        waiting = Arms(waiting=arms.waiting)
        arms = Arms(waiting=[*waiting.waiting])
        arms.take(turn(False))
    assert len(arms.waiting) == MOST_WAITING


def test_what_worsens_for_those_who_try_it_is_named_and_measured() -> None:
    arms = Arms()
    for _ in range(15):
        arms.take(turn(False, evidence=0.8, first_s=0.2))
        arms.take(turn(True, evidence=0.0, first_s=0.2))
    found = compare(change(), arms)
    assert found.alarm is not None
    assert "less of what is asked is found" in found.alarm
    (told,) = found.measured
    assert (told.measure, told.by, told.before, told.after) == ("recall_evidence", "canary", 0.8, 0.0)
    assert told.samples <= 12


def test_what_worsens_for_all_of_them_at_the_same_time_is_no_fault_of_the_trial() -> None:
    """A busy evening after a quiet night, which a watch of before and after would take for the change."""
    arms = Arms()
    for number in range(200):
        arms.take(turn(number % 2 == 1, first_s=0.1 if number < 100 else 5.0))
    assert compare(change(), arms).alarm is None


def false_alarms(again: Callable[[int], bool]) -> int:
    """Of TRIALS of what changes nothing: conversations of several turns that are alike, each of them on the side that
    its id gives it; looked at after every tenth."""
    draw, alarms = random.Random(5), 0
    for number in range(TRIALS):
        trial, arms = Trial(change_id=f"c{number}", key="recall_k", value=6, share=0.2), Arms()
        for talk in range(CONVERSATIONS):
            side, known, slow = arm_of(trial, f"{number}/{talk}").tried, draw.random(), draw.lognormvariate(0.0, 0.8)
            for one in range(TURNS):
                arms.take(turn(side, again=again(one), evidence=known, first_s=slow * draw.uniform(0.9, 1.1)))
            if talk % 10 == 9 and compare(change(), arms).alarm is not None:
                alarms += 1
                break
    return alarms


def test_of_trials_that_change_nothing_at_most_one_in_a_hundred_is_ended() -> None:
    assert false_alarms(lambda one: one > 0) <= TRIALS / 100


def test_the_check_notices_turns_of_one_conversation_that_are_counted_each() -> None:
    assert false_alarms(lambda one: False) > TRIALS / 100


async def test_a_trial_goes_on_in_the_next_process_and_takes_what_was_told_before_its_first_look(
    tmp_path: Path,
) -> None:
    latest = LatestTurns(tmp_path / "turns.json")
    for second in range(10):
        await latest.told(turn(second % 2 == 1, second=second))
        await latest.told(turn(True, second=second).model_copy(update={"arm": Arm(change_id="c2", tried=True)}))
    assert len(latest.arms("c1").pairs) == 5
    latest.keep()
    again = LatestTurns(tmp_path / "turns.json")
    assert again.arms("c1") == latest.arms("c1")
    await again.told(turn(False, second=11))
    await again.told(turn(True, second=12))
    assert len(again.arms("c1").pairs) == 6
    again.only({"c2"})
    assert not again._trials


async def test_turns_that_try_something_else_out_tell_nothing_of_what_came_before_and_after(tmp_path: Path) -> None:
    latest = LatestTurns(tmp_path / "turns.json")
    for second in range(20):
        await latest.told(turn(second % 2 == 1, second=second))
    found = latest.compared("c0", START + timedelta(seconds=9.5), [])
    assert [int((one.began - START).total_seconds()) for one in found.before] == [0, 2, 4, 6, 8]
    assert [int((one.began - START).total_seconds()) for one in found.after] == [12, 14, 16, 18]


async def test_conversations_are_counted_in_a_day_or_foretold_by_what_is_known_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.optimizer.watch.turns.MOST_TURNS", 60)
    latest, day = LatestTurns(tmp_path / "turns.json"), timedelta(days=1)
    for minute in range(40):
        await latest.told(TurnMeasured(began=START + timedelta(minutes=minute), again=minute % 4 > 0))
    now = START + timedelta(hours=1)
    assert latest.conversations(day, now) == 10
    assert latest.conversations(day, now + day) == 0
    for minute in range(40, 60):
        await latest.told(TurnMeasured(began=START + timedelta(minutes=minute), again=minute % 4 > 0))
    assert latest.conversations(day, now) == 24 * 15


# ---------------------------------------------------------------- thumbs


def rated(second: float, bad: bool | None, tried: bool, *, again: bool = False) -> TurnRated:
    arm = Arm(change_id="c1", tried=tried)
    return TurnRated(began=START + timedelta(seconds=second), bad=bad, arm=arm, again=again)


def test_more_bad_thumbs_for_those_who_try_it_end_the_trial() -> None:
    arms = Arms()
    for second in range(12):
        arms.rate(rated(second, False, False))
        arms.rate(rated(second, True, True))
    found = compare(change(), arms)
    assert found.alarm is not None
    assert "more answers are rated badly" in found.alarm
    assert found.measured[0].measure == "rated_badly_share"


def test_a_thumb_that_is_turned_round_counts_once_and_one_taken_back_not_at_all() -> None:
    arms = Arms()
    for bad in (True, False, True):
        arms.rate(rated(1, bad, True))
    arms.rate(rated(2, True, True))
    arms.rate(rated(3, True, True, again=True))
    arms.rate(rated(2, None, True))
    assert list(arms.thumbs.after.values()) == [True]


async def test_a_thumb_that_comes_late_is_on_the_side_of_its_turn(tmp_path: Path) -> None:
    latest, at = LatestTurns(tmp_path / "turns.json"), START + timedelta(minutes=1)
    await latest.rated(TurnRated(began=START, bad=False))
    begun = latest.compared("c0", at, [])
    for minutes, bad in ((0.5, True), (2, True), (0, True)):
        await latest.rated(TurnRated(began=START + timedelta(minutes=minutes), bad=bad))
    assert (list(begun.thumbs.before.values()), list(begun.thumbs.after.values())) == ([True, True], [True])
    latest.keep()
    assert LatestTurns(tmp_path / "turns.json").compared("c0", at, []) == begun
