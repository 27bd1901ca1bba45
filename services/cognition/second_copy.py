"""Sending a late request to a second node: after its time, within the budget, and only where it is quicker so.

How much later a late token still comes nobody knows; that it takes as long again as it took already is the usual guess
where delays differ by orders of magnitude. So a node is of use that would speak within that, which a slow or a busy one
would not: as the first stays silent, ever slower ones are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import PLACE, Placement, PlaceRequest
from libs.shared.errors import ServiceError
from libs.shared.telemetry import tracer
from services.cognition import measuring
from services.cognition.hedging import HedgeBudget, Lateness
from services.cognition.outcomes import Outcomes


@dataclass(frozen=True)
class Hedges:
    """What all requests of a process share."""

    budget: HedgeBudget = field(default_factory=HedgeBudget)
    lateness: Lateness = field(default_factory=Lateness)


class SecondCopy:
    """Of one request, which was placed first at ``first`` by ``asked``."""

    def __init__(
        self, bus: Bus, outcomes: Outcomes, budget: HedgeBudget, asked: PlaceRequest, first: Placement, after_s: float
    ) -> None:
        self._bus = bus
        self._outcomes = outcomes
        self._budget = budget
        self._asked = asked
        self._first = first
        self._after_s = after_s

    async def find(self) -> Placement | None:
        """Waits until the request is late and another node would speak within as long as was waited already; with
        every refusal twice as long."""
        await asyncio.sleep(self._after_s)
        waited_s = self._after_s
        while (placement := await self._within(waited_s)) is None:
            await asyncio.sleep(waited_s)
            waited_s *= 2
        measuring.hedged("sent")
        return placement

    async def _within(self, first_s: float) -> Placement | None:
        """A node that is expected to speak within so many seconds, if the budget has a copy left."""
        if not self._budget.spend():
            measuring.hedged("no_budget")
            return None
        placement = None
        try:
            placement = await self._place(first_s)
        finally:
            if placement is None:
                self._budget.give_back()
        if placement is None:
            measuring.hedged("no_node")
        return placement

    async def _place(self, first_s: float) -> Placement | None:
        """A refusal, or no answer, is none: the first is still at it."""
        asking = asyncio.ensure_future(self._ask(first_s))
        try:
            placement = await asyncio.shield(asking)
        except ServiceError:
            return None
        except asyncio.CancelledError:  # the first node has spoken meanwhile
            await self._not_needed(asking)
            raise
        if placement.model.remote or placement.node_id == self._first.node_id:
            await self._outcomes.ended(placement)
            return None
        return placement

    async def _ask(self, first_s: float) -> Placement:
        asked = self._asked.model_copy(
            update={
                "model": self._first.model.name,
                "adapter": self._first.adapter,
                "session": None,  # which stays where it was read: most copies lose
                "exclude_nodes": (self._first.node_id,),
                "first_within_s": first_s,
            }
        )
        with tracer.start_as_current_span("place"):
            return await self._bus.request(PLACE, asked)

    async def _not_needed(self, asking: asyncio.Future[Placement]) -> None:
        """The scheduler counts what it has placed until it is told of the end."""
        try:
            placement = await asking
        except ServiceError:
            return
        await self._outcomes.ended(placement)
