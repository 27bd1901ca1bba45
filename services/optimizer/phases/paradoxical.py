"""The paradoxical phase: what people will probably ask in the coming hours is made ready.

Cognition knows what was asked, foretells from it, and prepares; this phase says when, and reads nothing but counts. How
often it is right is measured every night on the days that are past (``foreseen_share``), each foretold from what came
before it alone.
"""

from __future__ import annotations

from libs.shared.contracts.dreaming import PREPARE_AHEAD, PrepareAhead, PreparedAhead
from services.optimizer.phases.base import PhaseReport, PhaseWork

HOURS = 12.0
"""Until the next night at the latest what was prepared is stale."""
MOST = 64


async def propose(work: PhaseWork) -> PhaseReport:
    """Proposes no change: nothing of it outlives the process that holds it. Raises ServiceError."""
    await work.clear()
    told = await work.bus.request(PREPARE_AHEAD, PrepareAhead(hours=HOURS, most=MOST))
    return PhaseReport(_done(told), figures=_figures(told))


def _done(told: PreparedAhead) -> str:
    if not told.users:
        return "nobody who allows their questions to be used asked anything: `mongars consents tuning on`"
    said = f"{told.prepared} of {told.questions} expected questions prepared for {told.users} people"
    return f"{said}; of {told.asked} that were asked at such hours in the past week, {told.foreseen} were foreseen"


def _figures(told: PreparedAhead) -> dict[str, float]:
    figures = {"expected": float(told.questions), "prepared": float(told.prepared), "asked": float(told.asked)}
    return figures | ({"foreseen_share": told.foreseen / told.asked} if told.asked else {})
