"""The ledger's rules: what may be set, how entries chain, which decision fits which state. Values in, values out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeKind, ChangeState, Decision
from libs.shared.contracts.runtime_settings import RuntimeSettings, Trying, trying
from libs.shared.errors import ChangeConflict, InvalidRequest, SettingUnknown
from services.persistence.steps import FIRST_HASH

_UNDECIDED = frozenset({ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.APPROVED})
_PERMITTED = frozenset({ChangeState.EVALUATED, ChangeState.APPROVED})
_LEFT_TO_ADMINS = frozenset({ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.APPLIED})
"""Of what people propose: an admin's leave applies it, or did."""
_IN_FORCE = frozenset({ChangeState.CANARY, ChangeState.APPLIED, ChangeState.KEPT})
IN_FLIGHT = _UNDECIDED | {ChangeState.CANARY, ChangeState.APPLIED}
"""Something is still to happen to such a change."""
_FROM = {
    Decision.ACCEPT: frozenset({ChangeState.PROPOSED}),
    Decision.TRY_OUT: _PERMITTED,
    Decision.APPLY: _PERMITTED | {ChangeState.CANARY},
    Decision.KEEP: frozenset({ChangeState.APPLIED}),
    Decision.APPROVE: frozenset({ChangeState.PROPOSED, ChangeState.EVALUATED}),
    Decision.REJECT: _UNDECIDED,
    Decision.ROLL_BACK: _IN_FORCE,
}
_TO = {
    Decision.ACCEPT: ChangeState.EVALUATED,
    Decision.TRY_OUT: ChangeState.CANARY,
    Decision.APPLY: ChangeState.APPLIED,
    Decision.KEEP: ChangeState.KEPT,
    Decision.REJECT: ChangeState.REJECTED,
    Decision.ROLL_BACK: ChangeState.ROLLED_BACK,
}


@dataclass(frozen=True)
class Standing:
    """What a decision depends on beside the change: its key's value now, and who set it; what else is under way."""

    current: Any
    setter: str | None
    """The change that set the value, which a later one has replaced otherwise; None: the default holds."""
    setter_state: ChangeState | None = None
    trial: str | None = None
    """The change that is tried out, of whichever key."""
    asks_approval: bool = False


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
    *,
    change_id: str,
    sequence: int,
    key: str,
    before: Any,
    after: Any,
    reason: str,
    proposed: Stamp,
    previous: str,
    kind: ChangeKind = ChangeKind.SETTING,
) -> Change:
    """A proposed change, chained to the entry before."""
    change = Change(
        change_id=change_id,
        sequence=sequence,
        kind=kind,
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


def of_optimizer(change: Change) -> bool:
    """Whether the optimizer proposed it: what it proposes is measured first."""
    return change.proposed.actor == OPTIMIZER_ACTOR


def refused_by_evaluation(change: Change) -> bool:
    """Whether the optimizer's evaluation refused what a person proposed; what a person refused is over."""
    if change.state is not ChangeState.REJECTED or of_optimizer(change):
        return False
    return change.decided is not None and change.decided.actor == OPTIMIZER_ACTOR


def state_after(change: Change, decision: Decision) -> ChangeState | None:
    """Where the decision leads; None where it doesn't fit the change's state.

    A decision that was taken already leads where the change is.
    """
    if decision is Decision.APPROVE:
        return _approved(change)
    after = _TO[decision]
    return after if change.state is after or change.state in _FROM[decision] else None


def _approved(change: Change) -> ChangeState | None:
    """An admin's leave applies what a person proposed, whatever its evaluation said, and permits what the optimizer
    proposed and found to help."""
    if not of_optimizer(change):
        return ChangeState.APPLIED if change.state in _LEFT_TO_ADMINS or refused_by_evaluation(change) else None
    return ChangeState.APPROVED if change.state in _PERMITTED else None


def decide(change: Change, decision: Decision, standing: Standing) -> ChangeState:
    """The state after ``decision``: the change's own where it was decided so already.

    Raises ChangeConflict: for a state that the decision doesn't fit, for a proposal made against another value, for
    what needs an admin's leave and hasn't it, for a key of which a change is being tried out or watched, and for
    rolling back what a later change has replaced.
    """
    after = state_after(change, decision)
    if after is None:
        raise ChangeConflict(f"a change that is {change.state.value} can't be decided so", state=change.state.value)
    if after is change.state:
        return after
    if after in (ChangeState.APPLIED, ChangeState.CANARY):
        _check_entry(change, decision, after, standing)
    if (
        after is ChangeState.ROLLED_BACK
        and change.state is not ChangeState.CANARY
        and standing.setter != change.change_id
    ):
        raise ChangeConflict("a later change set this: roll that back first", last_change=standing.setter)
    return after


def _check_entry(change: Change, decision: Decision, after: ChangeState, standing: Standing) -> None:
    if standing.current != change.before:
        raise ChangeConflict("the setting has changed since this was proposed: propose it again")
    if decision is Decision.APPROVE:
        return
    if not of_optimizer(change):
        raise ChangeConflict("an administrator has to allow what people propose", state=change.state.value)
    if standing.asks_approval and change.state is ChangeState.EVALUATED:
        raise ChangeConflict("an administrator has to allow it first", state=change.state.value)
    if standing.setter_state is ChangeState.APPLIED:
        raise ChangeConflict(
            "another change of this is still watched: wait until it is kept", last_change=standing.setter
        )
    # a digest is every conversation's, whatever it tries out
    if change.kind is ChangeKind.SETTING and standing.trial not in (None, change.change_id):
        raise ChangeConflict("another change is being tried out: wait until it is decided", last_change=standing.trial)
    if after is ChangeState.CANARY and Trying.BY_CONVERSATION not in trying(change.key):
        raise ChangeConflict("this can't be tried out on a share of the conversations: apply it, and watch")


def broken_link(changes: Iterable[Change], *, head_sequence: int, head_hash: str) -> int | None:
    """The sequence of the first entry (oldest first) that doesn't fit the chain or its head; None when all fit."""
    previous, expected = FIRST_HASH, 1
    for change in changes:
        fits = change.sequence == expected and change.previous_hash == previous and change.hash == entry_hash(change)
        if not fits:
            return expected
        previous, expected = change.hash, expected + 1
    return None if (head_sequence, head_hash) == (expected - 1, previous) else expected
