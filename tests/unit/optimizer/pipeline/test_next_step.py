"""What is done with a change, by where it stands."""

from __future__ import annotations

from datetime import timedelta

import pytest

from libs.shared.contracts.ledger import Change, ChangeKind, ChangeState, Decision
from libs.shared.contracts.runtime_settings import RecallWeights
from services.optimizer.pipeline.bounds import BOUNDS, hollow
from services.optimizer.pipeline.deciding import WATCHED_PAIRS, awaits_evaluation, judged, next_step
from services.optimizer.replay.exchange import Evaluated
from services.optimizer.watch.guardrails import Watched
from tests.unit.optimizer.watch.test_guardrails import START, change

NOW = START + timedelta(minutes=1)
DAY = START + timedelta(days=1, minutes=1)
QUIET = Watched(turns=5, before=100, pairs={"error_share": 5, "repetition": 0})


def standing(state: ChangeState, *, key: str = "recall_k", actor: str = "optimizer") -> Change:
    return change(key, actor).model_copy(update={"state": state, "change_id": f"{key}-{state.value}", "in_force": True})


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


@pytest.mark.parametrize(
    ("key", "actor", "awaits"),
    [
        ("recall_k", "optimizer", True),
        ("recall_k", "ada", True),
        ("hedging_share", "ada", True),
        ("hedging_share", "optimizer", False),
    ],
)
def test_settings_are_evaluated_whoever_proposed_them(key: str, actor: str, awaits: bool) -> None:
    assert awaits_evaluation(standing(ChangeState.PROPOSED, key=key, actor=actor)) is awaits
    for state in set(ChangeState) - {ChangeState.PROPOSED}:
        assert not awaits_evaluation(standing(state, key=key, actor=actor))
    digests = standing(ChangeState.PROPOSED, key=key, actor=actor).model_copy(update={"kind": ChangeKind.DIGEST})
    assert not awaits_evaluation(digests)


def test_what_a_bound_forbids_is_refused_also_where_the_phase_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOUNDS, "hedging_share", lambda value: "too much" if value > 0.1 else None)
    proposed = standing(ChangeState.PROPOSED, key="hedging_share")
    assert awaits_evaluation(proposed.model_copy(update={"after": 0.2}))
    assert not awaits_evaluation(proposed.model_copy(update={"after": 0.05}))


@pytest.mark.parametrize(
    ("accepted", "actor", "decision"),
    [
        (True, "optimizer", Decision.ACCEPT),
        (False, "optimizer", Decision.REJECT),
        (None, "optimizer", Decision.REJECT),
        (True, "ada", Decision.ACCEPT),
        (False, "ada", Decision.REJECT),
        (None, "ada", Decision.ACCEPT),
    ],
)
def test_an_evaluation_that_cannot_tell_refuses_the_optimizer_and_leaves_people_to_an_administrator(
    accepted: bool | None, actor: str, decision: Decision
) -> None:
    action = judged(standing(ChangeState.PROPOSED, actor=actor), Evaluated(accepted=accepted, reason="3 questions"))
    assert action.decision is decision
    assert "3 questions" in action.reason


@pytest.mark.parametrize("name", [name for name in RecallWeights.model_fields if name not in ("asks", "repetition")])
def test_weights_are_hollow_only_where_none_counts(name: str) -> None:
    nothing = dict.fromkeys(RecallWeights.model_fields, 0.0) | {"asks": -0.25, "repetition": 0.5}
    assert hollow("recall_weights", nothing) is not None
    assert hollow("recall_weights", nothing | {name: 0.1}) is None
    assert hollow("recall_weights", {}) is None, "what is left out has its default"
    assert hollow("recall_weights", nothing | {name: "much"}) is None, "no weights at all"
    assert hollow("recall_k", 0) is None


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
    many = Watched(turns=WATCHED_PAIRS, before=500, pairs={"error_share": WATCHED_PAIRS})
    for now, watched in ((NOW, many), (DAY, QUIET)):
        action = next_step(applied, now, asks_approval=False, watched=watched)
        assert action is not None
        assert action.decision is Decision.KEEP


def test_with_too_few_turns_to_compare_it_is_watched_for_the_day_and_says_what_there_was() -> None:
    few = Watched(turns=WATCHED_PAIRS, before=25, pairs={"error_share": 25, "recall_evidence": 0})
    assert next_step(standing(ChangeState.APPLIED), NOW, asks_approval=False, watched=few) is None
    action = next_step(standing(ChangeState.APPLIED), DAY, asks_approval=False, watched=few)
    assert action is not None
    assert "error_share 25, recall_evidence 0" in action.reason


@pytest.mark.parametrize("alarm", [None, "answers begin later"])
def test_one_that_another_replaced_is_watched_no_more(alarm: str | None) -> None:
    replaced = standing(ChangeState.APPLIED).model_copy(update={"in_force": False})
    action = next_step(replaced, NOW, asks_approval=False, watched=Watched(turns=9, before=100, alarm=alarm))
    assert action is not None
    assert action.decision is Decision.KEEP
    assert "another change" in action.reason
