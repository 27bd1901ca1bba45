"""What is to be done with a change now, and why. Pure: the ledger says where it stands, the watch what turns say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeKind, ChangeState, Decision, Measured
from services.optimizer.pipeline.bounds import hollow
from services.optimizer.replay.exchange import REPLAYABLE, Evaluated
from services.optimizer.watch.guardrails import Watched

MEASURED_WITHIN = timedelta(hours=1)
"""What a phase measures itself it measures at once, and one that died before it did never will; what is evaluated here
waits for whoever is asked."""
WATCHED_FOR = timedelta(hours=24)
WATCHED_PAIRS = 300
"""So many turns compared without an alarm end the watch earlier."""


@dataclass(frozen=True)
class Action:
    """A decision to ask the ledger for."""

    decision: Decision
    reason: str
    measured: tuple[Measured, ...] = ()
    share: float | None = None
    """Of the conversations, where it is tried out."""


def awaits_evaluation(change: Change) -> bool:
    """Settings, whoever proposed them. What no replay tells of is measured by the phase that proposes it, as digests
    are, whose texts nobody else may see; what its setting's bound forbids is refused all the same."""
    if change.state is not ChangeState.PROPOSED or change.kind is not ChangeKind.SETTING:
        return False
    by_phase = change.proposed.actor == OPTIMIZER_ACTOR and change.key not in REPLAYABLE
    return not by_phase or hollow(change.key, change.after) is not None


def judged(change: Change, told: Evaluated) -> Action:
    """What its evaluation comes to. Where it can't tell, the optimizer's own has not been shown to help, and a person's
    waits for an administrator."""
    reason = told.reason
    if told.accepted is None and change.proposed.actor == OPTIMIZER_ACTOR:
        return Action(Decision.REJECT, f"not shown to help: {reason}", told.measured)
    if told.accepted is None:
        return Action(Decision.ACCEPT, f"nothing speaks for it or against it: {reason}", told.measured)
    return Action(Decision.ACCEPT if told.accepted else Decision.REJECT, reason, told.measured)


def next_step(
    change: Change, now: datetime, *, asks_approval: bool, beside: Iterable[Change] = (), watched: Watched | None = None
) -> Action | None:
    """None: there is nothing to do yet. ``beside``: what else is in flight."""
    if change.state is ChangeState.APPLIED:
        return watching(change, now, watched)
    if change.proposed.actor != OPTIMIZER_ACTOR:
        return None  # people decide what people propose
    if change.state is ChangeState.PROPOSED:
        if now - change.proposed.at < MEASURED_WITHIN:
            return None
        return Action(Decision.REJECT, "it could not be measured within an hour")
    if change.state not in (ChangeState.EVALUATED, ChangeState.APPROVED):
        return None
    if change.state is ChangeState.EVALUATED and asks_approval:
        return None
    if any(other.key == change.key and other.state is ChangeState.APPLIED for other in beside):
        return None  # the one before it is watched still
    return Action(Decision.APPLY, "what was measured before and after it decided, and the watch goes on deciding")


def watching(change: Change, now: datetime, watched: Watched | None) -> Action | None:
    """Undone at an alarm; kept once enough turns were compared without one, after a day, or where another change of the
    same came after it."""
    if not change.in_force:
        return Action(Decision.KEEP, "another change of the same came after it: there is nothing to watch any more")
    since = now - (change.decided.at if change.decided is not None else change.proposed.at)
    if watched is None:
        return None
    if watched.alarm is not None:
        return Action(Decision.ROLL_BACK, watched.alarm, watched.measured)
    if watched.compared >= WATCHED_PAIRS:
        return Action(Decision.KEEP, f"nothing has worsened beyond noise; compared: {watched.said}")
    if since < WATCHED_FOR:
        return None
    return Action(Decision.KEEP, f"a day without a loss that could be told; compared: {watched.said}")
