"""The paradoxical phase: what people will probably ask in the coming hours is made ready, and training considered.

Cognition knows what was asked, foretells from it, and prepares; this phase says when, and reads nothing but counts. How
often it is right is measured every night on the days that are past (``foreseen_share``), each foretold from what came
before it alone.
"""

from __future__ import annotations

from datetime import UTC, datetime

from libs.shared.contracts.dreaming import PREPARE_AHEAD, PrepareAhead, PreparedAhead
from services.optimizer.phases.base import PhaseReport, PhaseWork
from services.optimizer.phases.training import train_where_worth_it

HOURS = 12.0
"""Until the next night at the latest what was prepared is stale."""
MOST = 64


async def propose(work: PhaseWork) -> PhaseReport:
    """Proposes no change: nothing of what is prepared outlives the process that holds it. Raises ServiceError."""
    await work.clear()
    told = await work.bus.request(PREPARE_AHEAD, PrepareAhead(hours=HOURS, most=MOST))
    training = await train_where_worth_it(work, datetime.now(UTC))
    return PhaseReport(f"{_done(told)}. Training: {training}", figures=_figures(told))


def _done(told: PreparedAhead) -> str:
    if not told.users:
        return "nobody who allows their questions to be used asked anything: `mongars consents tuning on`"
    said = f"{told.prepared} of {told.questions} expected questions prepared for {told.users} people"
    said += f", {told.drafted} answers drafted ({told.drafts_given} of those before were given)"
    return f"{said}; of {told.asked} that were asked at such hours in the past week, {told.foreseen} were foreseen"


def _figures(told: PreparedAhead) -> dict[str, float]:
    figures = {"expected": float(told.questions), "prepared": float(told.prepared), "asked": float(told.asked)}
    figures |= {"drafted": float(told.drafted), "drafts_given": float(told.drafts_given)}
    return figures | ({"foreseen_share": told.foreseen / told.asked} if told.asked else {})
