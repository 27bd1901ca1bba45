"""What is to be done with a change now, and why. Pure: the ledger says where it stands, the watch what turns say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeState, Decision, Measured
from services.optimizer.watch.guardrails import Watched

MEASURED_WITHIN = timedelta(hours=1)
"""A phase measures what it proposes at once; one that died before it did never will."""
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
        return Action(Decision.REJECT, "whoever proposed it ended before it was measured")
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
