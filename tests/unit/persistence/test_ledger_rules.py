"""The ledger's rules: the chain, the decisions, the values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, ChangeKind, ChangeState, Decision
from libs.shared.errors import ChangeConflict, InvalidRequest, SettingUnknown
from services.persistence import ledger
from services.persistence.steps import FIRST_HASH

NOW = datetime(2026, 3, 1, tzinfo=UTC)
STAMP = Stamp(actor="admin", at=NOW)


def chain(length: int) -> list[Change]:
    changes: list[Change] = []
    for i in range(1, length + 1):
        previous = changes[-1].hash if changes else FIRST_HASH
        changes.append(
            ledger.new_entry(
                change_id=f"c{i}",
                sequence=i,
                key="recall_k",
                before=i,
                after=i + 1,
                reason="",
                proposed=STAMP,
                previous=previous,
            )
        )
    return changes


def broken(changes: list[Change], head: Change) -> int | None:
    return ledger.broken_link(changes, head_sequence=head.sequence, head_hash=head.hash)


def test_an_intact_chain_verifies() -> None:
    changes = chain(5)
    assert broken(changes, changes[-1]) is None
    assert ledger.broken_link([], head_sequence=0, head_hash=FIRST_HASH) is None


@pytest.mark.parametrize("field", ["after", "before", "reason", "key", "proposed"])
def test_an_altered_entry_breaks_the_chain(field: str) -> None:
    changes = chain(5)
    altered = {"proposed": Stamp(actor="another", at=NOW)}.get(field, "altered")
    changes[2] = changes[2].model_copy(update={field: altered})
    assert broken(changes, changes[-1]) == 3


def test_a_removed_or_cut_entry_breaks_the_chain() -> None:
    changes = chain(5)
    assert broken(changes[:2] + changes[3:], changes[-1]) == 3
    assert broken(changes[:4], changes[-1]) == 5


def test_an_entry_rehashed_after_altering_breaks_the_next() -> None:
    changes = chain(5)
    altered = changes[2].model_copy(update={"after": 50})
    changes[2] = altered.model_copy(update={"hash": ledger.entry_hash(altered)})
    assert broken(changes, changes[-1]) == 4


def test_the_hash_does_not_depend_on_the_time_zone_it_is_read_in() -> None:
    change = chain(1)[0]
    elsewhere = Stamp(actor="admin", at=NOW.astimezone(tz=None))
    assert ledger.entry_hash(change.model_copy(update={"proposed": elsewhere})) == change.hash


OPTIMIZERS = Stamp(actor="optimizer", at=NOW)
P, E, A, C = ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.APPROVED, ChangeState.CANARY
APPLIED, KEPT, REJECTED, GONE = ChangeState.APPLIED, ChangeState.KEPT, ChangeState.REJECTED, ChangeState.ROLLED_BACK


def standing(**what: object) -> ledger.Standing:
    found: dict[str, object] = {"current": 1, "setter": None} | what
    return ledger.Standing(**found)  # type: ignore[arg-type]  # each test names what it is about


def after(change: Change, decision: Decision) -> ChangeState | None:
    in_force = change.state in (APPLIED, KEPT)
    try:
        return ledger.decide(change, decision, standing(setter="c1" if in_force else None))
    except ChangeConflict:
        return None


@pytest.mark.parametrize(
    ("state", "decision", "then"),
    [
        (P, Decision.APPROVE, APPLIED),
        (P, Decision.REJECT, REJECTED),
        (P, Decision.ROLL_BACK, None),
        (APPLIED, Decision.APPROVE, APPLIED),
        (APPLIED, Decision.REJECT, None),
        (APPLIED, Decision.ROLL_BACK, GONE),
        (KEPT, Decision.ROLL_BACK, GONE),
        (REJECTED, Decision.APPROVE, None),
        (GONE, Decision.APPROVE, None),
        (GONE, Decision.ROLL_BACK, GONE),
    ],
)
def test_what_people_proposed_is_decided_as_it_always_was(
    state: ChangeState, decision: Decision, then: ChangeState | None
) -> None:
    assert after(chain(1)[0].model_copy(update={"state": state}), decision) is then


LIFE = {
    (P, Decision.ACCEPT): E,
    (P, Decision.REJECT): REJECTED,
    (E, Decision.APPROVE): A,
    (E, Decision.TRY_OUT): C,
    (E, Decision.APPLY): APPLIED,
    (E, Decision.REJECT): REJECTED,
    (A, Decision.TRY_OUT): C,
    (A, Decision.APPLY): APPLIED,
    (A, Decision.REJECT): REJECTED,
    (C, Decision.APPLY): APPLIED,
    (C, Decision.ROLL_BACK): GONE,
    (APPLIED, Decision.KEEP): KEPT,
    (APPLIED, Decision.ROLL_BACK): GONE,
    (KEPT, Decision.ROLL_BACK): GONE,
}
ALREADY = {
    (E, Decision.ACCEPT),
    (A, Decision.APPROVE),
    (C, Decision.TRY_OUT),
    (APPLIED, Decision.APPLY),
    (KEPT, Decision.KEEP),
    (REJECTED, Decision.REJECT),
    (GONE, Decision.ROLL_BACK),
}


@pytest.mark.parametrize("state", list(ChangeState))
@pytest.mark.parametrize("decision", list(Decision))
def test_what_the_optimizer_proposed_is_measured_first_and_lives_as_declared(
    state: ChangeState, decision: Decision
) -> None:
    change = chain(1)[0].model_copy(update={"state": state, "proposed": OPTIMIZERS})
    then = state if (state, decision) in ALREADY else LIFE.get((state, decision))
    assert after(change, decision) is then


@given(decisions=st.lists(st.sampled_from(list(Decision)), max_size=30), person=st.booleans())
def test_no_order_of_decisions_applies_what_was_not_measured_or_moves_what_is_over(
    decisions: list[Decision], person: bool
) -> None:
    change = chain(1)[0].model_copy(update={"proposed": STAMP if person else OPTIMIZERS})
    seen = [change.state]
    for decision in decisions:
        then = after(change, decision)
        if then is not None and then is not change.state:
            change = change.model_copy(update={"state": then})
            seen.append(then)
    assert len(seen) == len(set(seen)), "no state is entered twice"
    if not person and any(state in (C, APPLIED, KEPT) for state in seen):
        assert seen[1] is E
    assert not {REJECTED, GONE} & set(seen[:-1]), "nothing follows the end"


def refused(by: Stamp, proposed: Stamp) -> Change:
    return chain(1)[0].model_copy(update={"state": REJECTED, "decided": by, "proposed": proposed})


def test_an_administrators_leave_applies_what_a_person_proposed_whatever_its_evaluation_said() -> None:
    evaluated = chain(1)[0].model_copy(update={"state": E})
    assert ledger.decide(evaluated, Decision.APPROVE, standing()) is APPLIED
    assert ledger.decide(refused(OPTIMIZERS, STAMP), Decision.APPROVE, standing()) is APPLIED
    for over in (refused(STAMP, STAMP), refused(OPTIMIZERS, OPTIMIZERS)):
        with pytest.raises(ChangeConflict):
            ledger.decide(over, Decision.APPROVE, standing())


@pytest.mark.parametrize("decision", [Decision.APPLY, Decision.TRY_OUT])
def test_what_a_person_proposed_is_not_applied_without_an_administrators_leave(decision: Decision) -> None:
    for state in (P, E):
        with pytest.raises(ChangeConflict):
            ledger.decide(chain(1)[0].model_copy(update={"state": state}), decision, standing())


def optimizers(state: ChangeState) -> Change:
    return chain(1)[0].model_copy(update={"state": state, "proposed": OPTIMIZERS})


@pytest.mark.parametrize(
    ("state", "decision", "found"),
    [
        (P, Decision.APPROVE, standing(current=9)),
        (E, Decision.APPLY, standing(current=9)),
        (E, Decision.APPLY, standing(asks_approval=True)),
        (E, Decision.TRY_OUT, standing(asks_approval=True)),
        (E, Decision.TRY_OUT, standing(trial="c9")),
        (E, Decision.APPLY, standing(trial="c9")),
        (E, Decision.APPLY, standing(setter="c0", setter_state=APPLIED)),
        (E, Decision.TRY_OUT, standing(setter="c0", setter_state=APPLIED)),
        (APPLIED, Decision.ROLL_BACK, standing(current=2, setter="c2")),
        (KEPT, Decision.ROLL_BACK, standing(current=2, setter="c2")),
    ],
)
def test_what_does_not_fit_what_is_in_force_is_refused(
    state: ChangeState, decision: Decision, found: ledger.Standing
) -> None:
    with pytest.raises(ChangeConflict):
        ledger.decide(optimizers(state), decision, found)


def test_what_was_allowed_or_has_nothing_before_it_goes_on() -> None:
    assert ledger.decide(optimizers(A), Decision.APPLY, standing(asks_approval=True)) is APPLIED
    assert ledger.decide(optimizers(C), Decision.APPLY, standing(asks_approval=True, trial="c1")) is APPLIED
    kept = standing(setter="c0", setter_state=KEPT)
    assert ledger.decide(optimizers(E), Decision.TRY_OUT, kept) is C
    digest = optimizers(E).model_copy(update={"kind": ChangeKind.DIGEST})
    assert ledger.decide(digest, Decision.APPLY, standing(trial="c9")) is APPLIED


def test_only_what_cognition_reads_by_conversation_is_tried_out() -> None:
    whole = optimizers(E).model_copy(update={"key": "hedging"})
    with pytest.raises(ChangeConflict, match="share"):
        ledger.decide(whole, Decision.TRY_OUT, standing())
    assert ledger.decide(whole, Decision.APPLY, standing()) is APPLIED


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recall_k", 51),
        ("recall_k", "8"),
        ("recall_k", 1.5),
        ("placement_policy", "random"),
        ("hedging", "on"),
        ("hedging_share", 0.5),
    ],
)
def test_a_value_that_settings_refuse_is_refused(key: str, value: object) -> None:
    with pytest.raises(InvalidRequest):
        ledger.checked_value(key, value)


def test_an_unknown_setting_is_refused_and_a_stale_one_falls_back() -> None:
    with pytest.raises(SettingUnknown):
        ledger.checked_value("colour", 1)
    found, refused = ledger.settings_from({"recall_k": 4, "colour": 1, "recall_min_score": 7})
    assert found.recall_k == 4
    assert refused == ("colour", "recall_min_score")


def test_weights_are_set_as_a_whole_and_what_is_left_out_has_its_default() -> None:
    held = ledger.checked_value("recall_weights", {"speaker": 0.5})
    assert held == {**ledger.default_of("recall_weights"), "speaker": 0.5}
    assert ledger.checked_value("recall_weights", held) == held


@pytest.mark.parametrize("value", [{"speaker": 11}, {"terms": -1}, {"speaker": "much"}, 0.5, None])
def test_weights_out_of_bounds_are_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        ledger.checked_value("recall_weights", value)
