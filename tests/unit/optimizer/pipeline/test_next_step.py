"""What is done with a change, by where it stands."""

from __future__ import annotations

from datetime import timedelta

import pytest

from libs.shared.contracts.ledger import Change, ChangeState, Decision
from services.optimizer.pipeline.deciding import WATCHED_TURNS, next_step
from services.optimizer.watch.guardrails import Watched
from tests.unit.optimizer.watch.test_guardrails import START, change

NOW = START + timedelta(minutes=1)
DAY = START + timedelta(days=1, minutes=1)
QUIET = Watched(turns=5, before=100)


def standing(state: ChangeState, *, key: str = "recall_k", actor: str = "optimizer") -> Change:
    return change(key, actor).model_copy(update={"state": state, "change_id": f"{key}-{state.value}"})


def test_what_was_found_to_help_is_applied() -> None:
    for state in (ChangeState.EVALUATED, ChangeState.APPROVED):
        action = next_step(standing(state), NOW, asks_approval=False)
        assert action is not None
        assert action.decision is Decision.APPLY


def test_nothing_is_applied_that_was_not_measured() -> None:
    proposed = standing(ChangeState.PROPOSED)
    assert next_step(proposed, NOW, asks_approval=False) is None
    late = next_step(proposed, START + timedelta(hours=2), asks_approval=False)
    assert late is not None
    assert late.decision is Decision.REJECT


def test_where_the_policy_asks_for_leave_only_what_has_it_is_applied() -> None:
    assert next_step(standing(ChangeState.EVALUATED), NOW, asks_approval=True) is None
    assert next_step(standing(ChangeState.APPROVED), NOW, asks_approval=True) is not None


def test_a_second_change_of_the_same_waits_until_the_first_was_watched() -> None:
    beside = [standing(ChangeState.APPLIED, actor="ada")]
    assert next_step(standing(ChangeState.EVALUATED), NOW, asks_approval=False, beside=beside) is None
    other = [standing(ChangeState.APPLIED, key="hedging")]
    assert next_step(standing(ChangeState.EVALUATED), NOW, asks_approval=False, beside=other) is not None


@pytest.mark.parametrize("state", [ChangeState.PROPOSED, ChangeState.EVALUATED])
def test_what_people_propose_people_decide(state: ChangeState) -> None:
    assert next_step(standing(state, actor="ada"), DAY, asks_approval=False) is None


@pytest.mark.parametrize("actor", ["ada", "optimizer"])
def test_whatever_worsens_something_is_undone_whoever_wanted_it(actor: str) -> None:
    found = Watched(turns=30, before=100, alarm="answers begin later: seen within 12 requests")
    action = next_step(standing(ChangeState.APPLIED, actor=actor), NOW, asks_approval=False, watched=found)
    assert action is not None
    assert (action.decision, action.reason) == (Decision.ROLL_BACK, found.alarm)


def test_what_does_well_is_kept_after_enough_turns_or_a_day() -> None:
    applied = standing(ChangeState.APPLIED)
    assert next_step(applied, NOW, asks_approval=False, watched=QUIET) is None
    many = Watched(turns=WATCHED_TURNS, before=100)
    for now, watched in ((NOW, many), (DAY, QUIET)):
        action = next_step(applied, now, asks_approval=False, watched=watched)
        assert action is not None
        assert action.decision is Decision.KEEP


def test_with_too_few_turns_to_tell_it_says_so_when_it_keeps() -> None:
    few = Watched(turns=WATCHED_TURNS, before=3)
    assert next_step(standing(ChangeState.APPLIED), NOW, asks_approval=False, watched=few) is None
    action = next_step(standing(ChangeState.APPLIED), DAY, asks_approval=False, watched=few)
    assert action is not None
    assert "too few" in action.reason
