"""The ledger's rules: the chain, the decisions, the values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, ChangeState, Decision
from libs.shared.errors import ChangeConflict, InvalidRequest, SettingUnknown
from services.persistence import ledger

NOW = datetime(2026, 3, 1, tzinfo=UTC)
STAMP = Stamp(actor="admin", at=NOW)


def chain(length: int) -> list[Change]:
    changes: list[Change] = []
    for i in range(1, length + 1):
        previous = changes[-1].hash if changes else ledger.FIRST_HASH
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
    assert ledger.broken_link([], head_sequence=0, head_hash=ledger.FIRST_HASH) is None


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


@pytest.mark.parametrize(
    ("state", "decision", "after"),
    [
        (ChangeState.PROPOSED, Decision.APPROVE, ChangeState.APPLIED),
        (ChangeState.PROPOSED, Decision.REJECT, ChangeState.REJECTED),
        (ChangeState.PROPOSED, Decision.ROLL_BACK, None),
        (ChangeState.APPLIED, Decision.APPROVE, None),
        (ChangeState.APPLIED, Decision.REJECT, None),
        (ChangeState.APPLIED, Decision.ROLL_BACK, ChangeState.ROLLED_BACK),
        (ChangeState.REJECTED, Decision.APPROVE, None),
        (ChangeState.ROLLED_BACK, Decision.APPROVE, None),
        (ChangeState.ROLLED_BACK, Decision.ROLL_BACK, None),
    ],
)
def test_a_decision_must_fit_the_state(state: ChangeState, decision: Decision, after: ChangeState | None) -> None:
    change = chain(1)[0].model_copy(update={"state": state})
    if after is None:
        with pytest.raises(ChangeConflict):
            ledger.decide(change, decision, current=1, last_change="c1")
    else:
        assert ledger.decide(change, decision, current=1, last_change="c1") is after


def test_a_proposal_against_another_value_and_a_rollback_of_what_was_replaced_are_refused() -> None:
    change = chain(1)[0]
    with pytest.raises(ChangeConflict):
        ledger.decide(change, Decision.APPROVE, current=9, last_change=None)
    applied = change.model_copy(update={"state": ChangeState.APPLIED})
    with pytest.raises(ChangeConflict):
        ledger.decide(applied, Decision.ROLL_BACK, current=2, last_change="c2")


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
