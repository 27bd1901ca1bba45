"""What is held against what, and by which measures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeKind, ChangeState
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.watch.guardrails import FEWEST_BEFORE, guardrails_of, watch
from services.optimizer.watch.turns import MOST_TURNS, LatestTurns

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
    assert (found.alarm, found.comparable) == (None, False)


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
    before, after = latest.around(points[1], points)
    assert [turn.began.minute for turn in before] == [2, 3, 4]
    assert [turn.began.minute for turn in after] == [5, 6, 7]


async def test_turns_outlive_the_process_and_are_bounded(tmp_path: Path) -> None:
    latest = LatestTurns(tmp_path / "turns.json")
    for turn in turns(MOST_TURNS + 5):
        await latest.told(turn)
    latest.keep()
    before, after = LatestTurns(tmp_path / "turns.json").around(START + timedelta(hours=1), [])
    assert (len(before), len(after)) == (MOST_TURNS, 0)
