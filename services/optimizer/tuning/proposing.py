"""Proposing what tuning bore out, with its measure; what becomes of it then is the ledger's."""

from __future__ import annotations

from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import DECIDE_CHANGE, PROPOSE_CHANGE, DecideChange, Decision, ProposeChange
from libs.shared.contracts.sleep import Tried
from libs.shared.errors import ChangeConflict
from services.optimizer.phases.base import PhaseWork
from services.optimizer.replay.exchange import REPLAYABLE
from services.optimizer.tuning.exchange import Proposal


async def proposed(work: PhaseWork, one: Proposal, reason: str) -> Tried:
    """What was tried, with its change where there is one; ``reason``: how it was measured. Raises ServiceError."""
    change = await _change(work, one, reason)
    return Tried(key=one.key, value=one.value, measured=one.measured, proposed=change is not None, change_id=change)


async def _change(work: PhaseWork, one: Proposal, reason: str) -> str | None:
    """None while another of the same setting isn't decided or is watched: another night. What a replay tells of is
    evaluated anew by the pipeline, as if somebody else had proposed it."""
    await work.clear()
    change = ProposeChange(
        key=one.key, value=one.value, reason=one.reason, actor=Principal.OPTIMIZER, measured=one.measured
    )
    try:
        change_id = (await work.bus.request(PROPOSE_CHANGE, change)).change_id
    except ChangeConflict:
        return None
    if one.key in REPLAYABLE:
        return change_id
    accept = DecideChange(
        change_id=change_id,
        decision=Decision.ACCEPT,
        actor=Principal.OPTIMIZER,
        reason=reason,
        measured=one.measured,
    )
    await work.bus.request(DECIDE_CHANGE, accept)
    return change_id
