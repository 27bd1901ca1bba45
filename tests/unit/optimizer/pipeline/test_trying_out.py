"""When a change is tried out on a share of the conversations, and when that is over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.ledger import Change, ChangeKind, ChangeState, Decision
from services.optimizer.pipeline.deciding import Action, next_step
from services.optimizer.pipeline.trying_out import ENOUGH_PAIRS, TRIED_FOR, trial, tried_first
from services.optimizer.watch.guardrails import Watched
from tests.unit.optimizer.pipeline.test_next_step import NOW, standing
from tests.unit.optimizer.watch.test_guardrails import START

BUSY = 1000


def decided(change: Change, conversations: int, *beside: Change) -> Action | None:
    return tried_first(change, next_step(change, NOW, asks_approval=False), conversations, beside)


@pytest.mark.parametrize("state", [ChangeState.EVALUATED, ChangeState.APPROVED])
def test_where_many_talk_a_change_is_tried_out_first(state: ChangeState) -> None:
    action = decided(standing(state), BUSY)
    assert action is not None
    assert (action.decision, action.share) == (Decision.TRY_OUT, 0.2)
    assert "1000 in a day" in action.reason


@given(st.integers(0, 5000))
def test_a_share_is_as_small_as_it_can_be_and_without_enough_what_was_measured_decides(conversations: int) -> None:
    action = decided(standing(ChangeState.EVALUATED), conversations)
    assert action is not None
    if conversations >= 2 * ENOUGH_PAIRS:
        assert action.decision is Decision.TRY_OUT
        assert action.share == (0.2 if conversations >= 5 * ENOUGH_PAIRS else 0.5)
    else:
        assert (action.decision, action.share) == (Decision.APPLY, None)
        assert f"{conversations} conversations in a day are too few" in action.reason
        assert "measured" in action.reason


def test_what_every_conversation_has_at_once_is_not_tried_out() -> None:
    for change in (
        standing(ChangeState.EVALUATED, key="hedging"),
        standing(ChangeState.EVALUATED).model_copy(update={"kind": ChangeKind.DIGEST, "key": "digest:u1"}),
    ):
        action = decided(change, BUSY)
        assert action is not None
        assert action.decision is Decision.APPLY


def test_one_setting_is_tried_out_at_a_time_and_digests_do_not_wait_for_it() -> None:
    other = standing(ChangeState.CANARY, key="recall_min_score")
    assert decided(standing(ChangeState.EVALUATED), BUSY, other) is None
    assert decided(standing(ChangeState.EVALUATED, key="hedging"), BUSY, other) is None
    digest = standing(ChangeState.EVALUATED).model_copy(update={"kind": ChangeKind.DIGEST, "key": "digest:u1"})
    assert decided(digest, BUSY, other) is not None


def test_what_is_to_be_undone_or_refused_is_not_tried_out() -> None:
    for action in (None, Action(Decision.REJECT, "because"), Action(Decision.ROLL_BACK, "because")):
        assert tried_first(standing(ChangeState.APPLIED), action, BUSY) == action


def test_a_trial_ends_at_an_alarm_with_enough_or_when_its_time_is_over() -> None:
    change = standing(ChangeState.CANARY)
    some, enough = Watched(5, 5, pairs={"error_share": 5}), Watched(0, 0, pairs={"error_share": ENOUGH_PAIRS})
    alarm = Watched(5, 5, alarm="answers begin later", pairs={"error_share": 5})
    late = START + TRIED_FOR
    assert trial(change, NOW, some) is None
    for compared, at, decision in (
        (alarm, NOW, Decision.ROLL_BACK),
        (alarm, late, Decision.ROLL_BACK),
        (enough, NOW, Decision.APPLY),
        (some, late, Decision.APPLY),
        (Watched(0, 0), late, Decision.APPLY),
    ):
        action = trial(change, at, compared)
        assert action is not None
        assert action.decision is decision
        assert action.reason
    over = trial(change, late + timedelta(hours=1), some)
    assert over is not None
    assert "measured before decided" in over.reason
