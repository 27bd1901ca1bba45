"""Whether a change is tried out on a share of the conversations before it holds for all, and when that ends. Pure: the
ledger says where it stands, the turns of late how many conversations there are, the arms how they compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from libs.shared.contracts.ledger import Change, ChangeKind, ChangeState, Decision
from libs.shared.contracts.runtime_settings import Trying, trying
from services.optimizer.pipeline.deciding import Action
from services.optimizer.watch.guardrails import Watched

TRIED_FOR = timedelta(hours=24)
"""A trial is over by then, whatever came of it."""
ENOUGH_PAIRS = 100
"""So many conversations, beside as many others, without an alarm end it earlier (what they tell:
``docs/decisions/safe-apply.md``)."""
SHARES = (0.2, 0.5)
"""The first that brings as many within its time."""


def tried_first(
    change: Change, action: Action | None, conversations: int, beside: Iterable[Change] = ()
) -> Action | None:
    """``action``, or a trial before it, or nothing yet where another is tried out. ``conversations``: how many there
    are in TRIED_FOR, by those of late; ``beside``: what else is in flight."""
    if action is None or action.decision is not Decision.APPLY or change.kind is not ChangeKind.SETTING:
        return action
    if any(other.state is ChangeState.CANARY for other in beside):
        return None
    if Trying.BY_CONVERSATION not in trying(change.key):
        return action
    share = next((one for one in SHARES if conversations * one >= ENOUGH_PAIRS), None)
    if share is None:
        reason = f"{conversations} conversations in a day are too few to try it out on a share of them; {action.reason}"
        return replace(action, reason=reason)
    reason = f"tried out on {share:.0%} of the conversations, of which there are {conversations} in a day"
    return Action(Decision.TRY_OUT, reason, share=share)


def trial(change: Change, now: datetime, compared: Watched) -> Action | None:
    """Ended at an alarm; applied once enough conversations were compared without one, or its time is over."""
    if compared.alarm is not None:
        return Action(Decision.ROLL_BACK, compared.alarm, compared.measured)
    if compared.compared >= ENOUGH_PAIRS:
        reason = f"nothing has worsened beyond noise for those who tried it out; compared: {compared.said}"
        return Action(Decision.APPLY, reason)
    began = change.decided.at if change.decided is not None else change.proposed.at
    if now - began < TRIED_FOR:
        return None
    reason = f"tried out for a day without a loss that could be told; compared: {compared.said}"
    return Action(Decision.APPLY, f"{reason}; what was measured before decided")
