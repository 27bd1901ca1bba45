"""What is held against what, and by which measures."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeKind, ChangeState
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.watch.guardrails import FEWEST_BEFORE, guardrails_of, watch
from services.optimizer.watch.turns import MOST_COMPARED, MOST_TURNS, LatestTurns

START = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


def change(key: str = "recall_k", actor: str = OPTIMIZER_ACTOR, kind: ChangeKind = ChangeKind.SETTING) -> Change:
    return Change(
        change_id="c1",
        sequence=1,
        kind=kind,
        key=key,
        before=8,
        after=6,
        reason="because",
        state=ChangeState.APPLIED,
        proposed=Stamp(actor=actor, at=START),
        decided=Stamp(actor=actor, at=START),
        previous_hash="0" * 64,
        hash="1" * 64,
    )


def turns(
    count: int, *, first_s: float = 0.3, evidence: float = 0.7, failed: bool = False, repetition: float = 0.05
) -> list[TurnMeasured]:
    one = TurnMeasured(began=START, first_s=first_s, evidence=evidence, failed=failed, repetition=repetition)
    return [one] * count


@pytest.mark.parametrize(
    ("after", "measure"),
    [
        (turns(20, evidence=0.0), "recall_evidence"),
        (turns(20, first_s=0.9), "first_token_s"),
        (turns(20, failed=True), "error_share"),
        (turns(20, repetition=0.9), "repetition"),
    ],
)
def test_what_worsens_is_named_and_measured(after: list[TurnMeasured], measure: str) -> None:
    found = watch(change(), turns(30), after)
    assert found.alarm is not None
    assert [one.measure for one in found.measured] == [measure]
    assert found.measured[0].high < 0


def test_where_nothing_worsens_there_is_no_alarm() -> None:
    assert watch(change(), turns(300), turns(300)).alarm is None


def test_a_little_slower_is_no_reason() -> None:
    assert watch(change(), turns(300, first_s=0.30), turns(300, first_s=0.36)).alarm is None


def test_with_too_few_turns_before_nothing_is_told() -> None:
    found = watch(change(), turns(FEWEST_BEFORE - 1), turns(100, failed=True))
    assert (found.alarm, found.compared) == (None, 0)


def test_what_was_compared_is_counted_by_guardrail_and_what_could_not_worsen_counts_for_nothing() -> None:
    blind = [turn.model_copy(update={"evidence": 0.0, "repetition": None}) for turn in turns(25)]
    found = watch(change(), blind, turns(300))
    assert found.pairs == {
        "error_share": 25,
        "first_token_s": 25,
        "recall_evidence": 0,
        "repetition": 0,
        "rated_badly_share": 0,
    }


def test_people_who_choose_a_slower_model_keep_it_and_the_optimizer_would_not() -> None:
    slower = turns(100, first_s=5.0)
    assert watch(change("default_model", "ada"), turns(100), slower).alarm is None
    assert watch(change("default_model", "ada"), turns(100), turns(50, failed=True)).alarm is not None
    assert watch(change("default_model", "ada"), turns(100), turns(50, repetition=0.9)).alarm is not None
    assert watch(change("default_model"), turns(100), slower).alarm is not None


def test_digests_are_not_held_to_evidence_that_they_do_not_change() -> None:
    assert "recall_evidence" not in {rail.name for rail in guardrails_of(change(kind=ChangeKind.DIGEST))}


async def test_turns_are_parted_by_the_change_and_by_what_changed_around_it(tmp_path: Path) -> None:
    latest = LatestTurns(tmp_path / "turns.json")
    for minute in range(10):
        await latest.told(TurnMeasured(began=START + timedelta(minutes=minute)))
    points = [START + timedelta(minutes=m, seconds=30) for m in (1, 4, 7)]
    found = latest.compared("c1", points[1], points)
    assert [turn.began.minute for turn in found.before] == [2, 3, 4]
    assert [turn.began.minute for turn in found.after] == [5, 6, 7]


async def test_turns_and_what_is_compared_outlive_the_process_and_are_bounded(tmp_path: Path) -> None:
    latest = LatestTurns(tmp_path / "turns.json")
    at = START + timedelta(hours=1)
    for turn in turns(MOST_TURNS + 5):
        await latest.told(turn)
    begun = latest.compared("c1", at, [at])
    for turn in turns(MOST_COMPARED + 5):
        await latest.told(turn.model_copy(update={"began": at + timedelta(minutes=1)}))
    latest.keep()
    again = LatestTurns(tmp_path / "turns.json")
    assert again.compared("c1", at, [at]) == begun
    assert (len(begun.before), len(begun.after)) == (MOST_COMPARED, MOST_COMPARED)


async def alarms_without_a_change(folder: Path, monkeypatch: pytest.MonkeyPatch, *, anew: bool) -> int:
    """Of 100 watches over a full window of turns that vary as answers do, looked at after every fourth."""
    monkeypatch.setattr("services.optimizer.watch.turns.MOST_TURNS", 320)
    draw, alarms, at = random.Random(3), 0, START + timedelta(hours=1)

    def turn(began: datetime) -> TurnMeasured:
        return TurnMeasured(began=began, first_s=draw.lognormvariate(0.0, 0.8), evidence=draw.random())

    for number in range(100):
        latest = LatestTurns(folder / f"{number}.json")
        for _ in range(320):
            await latest.told(turn(START))
        for seen in range(200):
            await latest.told(turn(at + timedelta(minutes=1)))
            if seen % 4:
                continue
            if anew:
                latest.only(())
            found = latest.compared("c1", at, [at])
            if watch(change(), found.before, found.after).alarm is not None:
                alarms += 1
                break
    return alarms


async def test_looked_at_often_over_a_full_window_an_alarm_is_as_rare_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await alarms_without_a_change(tmp_path, monkeypatch, anew=False) <= 3


async def test_the_check_notices_that_each_look_compares_other_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await alarms_without_a_change(tmp_path, monkeypatch, anew=True) > 3


def counts(before: dict[str, int], after: dict[str, int]) -> Change:
    return change("workers").model_copy(update={"before": before, "after": after})


def names(of: Change) -> list[str]:
    return [rail.name for rail in guardrails_of(of)]


def test_more_workers_are_not_blamed_for_the_load_that_they_were_begun_for() -> None:
    for more in (counts({}, {"cognition": 2}), counts({"cognition": 2}, {"cognition": 3})):
        assert names(more) == ["error_share"]
        assert watch(more, turns(100, first_s=0.3), turns(100, first_s=3.0)).alarm is None


def test_fewer_are_undone_where_answers_begin_later_or_fail() -> None:
    for fewer in (counts({"cognition": 2}, {"cognition": 1}), counts({}, {"cognition": 0}), counts({"api": 2}, {})):
        assert names(fewer) == ["error_share", "first_token_s"]
        assert watch(fewer, turns(100, first_s=0.3), turns(100, first_s=3.0)).alarm is not None
        assert watch(fewer, turns(100), turns(100, failed=True)).alarm is not None
