"""Where background work may run: the scheduler is asked until a node has room, heat and power for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import PLACE_JOB, PlaceJob, Placement
from libs.shared.errors import ServiceError, Unavailable
from libs.shared.telemetry import get_logger

SHORTEST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
"""Between two questions: what was waited for may end sooner than the scheduler thinks."""
STOPS_WITHIN_S = 0.25
GIVEN_UP_S = 1200.0
"""No answer of the scheduler's holds work back for longer."""

log = get_logger(__name__)


@dataclass
class Berth:
    """The replica that a round of background work was given."""

    placement: Placement | None = None
    """None: there was none, or it failed; then each portion is placed as a request is."""

    @property
    def replica(self) -> str:
        """Empty where it isn't known."""
        return "" if self.placement is None else self.placement.replica

    def serves(self, embedder: str | None) -> bool:
        """Whether ``embedder`` (``name@version``; None: any) is the one that was asked for; of no berth, too."""
        placed = self.placement
        return placed is None or embedder is None or embedder.partition("@")[0] == placed.model.name

    def failed(self) -> None:
        """Nothing more goes there."""
        self.placement = None


class Room:
    """Asks PLACE_JOB. Where nobody answers it, or nothing can be placed at all, work goes on as a request does."""

    def __init__(
        self, bus: Bus, model_for: Callable[[str | None], str | None], clock: Callable[[], float] = monotonic
    ) -> None:
        """``model_for`` gives the model that makes vectors of an embedder."""
        self._bus = bus
        self._model_for = model_for
        self._clock = clock

    async def find(self, embedder: str | None, *, since: float, crowded: Callable[[], bool] = lambda: False) -> Berth:
        """``wait_for`` a node that has the embedder (``name@version``)."""
        return await self.wait_for(PlaceJob(model=self._model_for(embedder)), since=since, crowded=crowded)

    async def wait_for(self, job: PlaceJob, *, since: float, crowded: Callable[[], bool] = lambda: False) -> Berth:
        """Returns once some node that can do it has room, or it is ``crowded`` here. ``since``: when the work came, by
        this clock. Raises Unavailable when the service stops meanwhile."""
        told = False
        while (waited_s := self._clock() - since) < GIVEN_UP_S and not (told and crowded()):
            try:
                asked = job.model_copy(update={"waited_s": max(0.0, waited_s)})
                found = await self._bus.request(PLACE_JOB, asked)
            except ServiceError as error:
                log.debug("room_not_asked", code=error.code)
                return Berth()
            if found.placement is not None:
                return Berth(found.placement)
            if not told:
                log.info("background_work_waits", reasons=found.reasons)
            told = True
            await self._rest(min(max(found.retry_after_s, SHORTEST_WAIT_S), LONGEST_WAIT_S), crowded)
        return Berth()

    async def _rest(self, seconds: float, crowded: Callable[[], bool]) -> None:
        """Raises Unavailable as soon as the service stops: the work will be delivered again."""
        until = self._clock() + seconds
        while (left_s := until - self._clock()) > 0 and not crowded():
            if self._bus.stopping:
                raise Unavailable("this service is stopping")
            await asyncio.sleep(min(left_s, STOPS_WITHIN_S))
