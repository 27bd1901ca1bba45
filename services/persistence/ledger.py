"""The ledger's rules: what may be set, how entries chain, which decision fits which state. Values in, values out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, ChangeState, Decision, RuntimeSettings
from libs.shared.errors import ChangeConflict, InvalidRequest, SettingUnknown

FIRST_HASH = "0" * 64
"""What stands before the first entry."""
_NEXT_STATE = {
    (ChangeState.PROPOSED, Decision.APPROVE): ChangeState.APPLIED,
    (ChangeState.PROPOSED, Decision.REJECT): ChangeState.REJECTED,
    (ChangeState.APPLIED, Decision.ROLL_BACK): ChangeState.ROLLED_BACK,
}


def checked_value(key: str, value: Any) -> Any:
    """The value as settings would hold it. Raises SettingUnknown, InvalidRequest."""
    if key not in RuntimeSettings.model_fields:
        raise SettingUnknown("there is no such setting")
    try:
        settings = RuntimeSettings.model_validate_json(json.dumps({key: value}))
    except (ValidationError, ValueError, TypeError):
        raise InvalidRequest("the setting can't have this value", errors=["value"]) from None
    return settings.model_dump(mode="json")[key]


def settings_from(values: Mapping[str, Any]) -> tuple[RuntimeSettings, tuple[str, ...]]:
    """The settings in force, and the keys whose stored values this release no longer takes (defaults stand in)."""
    accepted: dict[str, Any] = {}
    refused: list[str] = []
    for key, value in values.items():
        try:
            accepted[key] = checked_value(key, value)
        except (SettingUnknown, InvalidRequest):
            refused.append(key)
    return RuntimeSettings.model_validate_json(json.dumps(accepted)), tuple(sorted(refused))


def default_of(key: str) -> Any:
    """A setting's value when nothing set it."""
    return RuntimeSettings().model_dump(mode="json")[key]


def entry_hash(change: Change) -> str:
    """SHA-256 over the canonical JSON of every field that never changes, the hash before included."""
    fields = {
        "change_id": change.change_id,
        "sequence": change.sequence,
        "kind": change.kind,
        "key": change.key,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
        "proposed": {"actor": change.proposed.actor, "at": change.proposed.at.astimezone(UTC).isoformat()},
        "previous_hash": change.previous_hash,
    }
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def new_entry(
    *, change_id: str, sequence: int, key: str, before: Any, after: Any, reason: str, proposed: Stamp, previous: str
) -> Change:
    """A proposed change, chained to the entry before."""
    change = Change(
        change_id=change_id,
        sequence=sequence,
        key=key,
        before=before,
        after=after,
        reason=reason,
        state=ChangeState.PROPOSED,
        proposed=proposed,
        previous_hash=previous,
        hash=FIRST_HASH,
    )
    return change.model_copy(update={"hash": entry_hash(change)})


def decide(change: Change, decision: Decision, *, current: Any, last_change: str | None) -> ChangeState:
    """The state after ``decision``. ``current`` is the setting's value now, ``last_change`` what set it.

    Raises ChangeConflict: for a state that the decision doesn't fit, for a proposal made against another value,
    and for rolling back what a later change has replaced.
    """
    after = _NEXT_STATE.get((change.state, decision))
    if after is None:
        raise ChangeConflict(f"a change that is {change.state.value} can't be decided so", state=change.state.value)
    if after is ChangeState.APPLIED and current != change.before:
        raise ChangeConflict("the setting has changed since this was proposed: propose it again")
    if after is ChangeState.ROLLED_BACK and last_change != change.change_id:
        raise ChangeConflict("a later change set this: roll that back first", last_change=last_change)
    return after


def broken_link(changes: Iterable[Change], *, head_sequence: int, head_hash: str) -> int | None:
    """The sequence of the first entry (oldest first) that doesn't fit the chain or its head; None when all fit."""
    previous, expected = FIRST_HASH, 1
    for change in changes:
        fits = change.sequence == expected and change.previous_hash == previous and change.hash == entry_hash(change)
        if not fits:
            return expected
        previous, expected = change.hash, expected + 1
    return None if (head_sequence, head_hash) == (expected - 1, previous) else expected
