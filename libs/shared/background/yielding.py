"""Whether work may use the machine now: it makes way for requests at once, and for heat and power soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import PLACE_JOB, JobPlacement, PlaceJob, Preempt
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

HOLD_S = 0.5
"""How long a request that an api has announced counts as under way: by then the scheduler knows of it."""
LOOK_S = 2.0
"""Between two questions while the work goes on: heat changes no faster, and requests are announced."""
SHORTEST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
REQUEST = "request"

log = get_logger(__name__)


class Yielding:
    """Stops what runs as soon as a request is announced, and lets it go on when the scheduler finds room again.

    ``presses``: whether it insists on room after having waited for long, as PlaceJob says; else it waits on.
    """

    def __init__(
        self, bus: Bus, node_id: str | None, clock: Callable[[], float] = monotonic, *, presses: bool = True
    ) -> None:
        self._bus = bus
        self._node_id = node_id
        self._clock = clock
        self._presses = presses
        self._held_until = 0.0
        self._stop: Callable[[], None] = lambda: None

    async def preempted(self, _: Preempt) -> None:
        """PREEMPT: somebody waits for an answer. Stops first, and thinks afterwards."""
        self._stop_at_once()
        self._held_until = self._clock() + HOLD_S

    def _stop_at_once(self) -> None:
        self._stop()

    async def hold(
        self, stop: Callable[[], None], go_on: Callable[[], None], told: Callable[[tuple[str, ...]], None]
    ) -> None:
        """Until it is cancelled. What ``stop`` and ``go_on`` are for runs when this begins; ``told`` hears why it
        doesn't, and nothing once it does."""
        held_since: float | None = None
        woken = asyncio.Event()

        def stop_now() -> None:
            nonlocal held_since
            stop()
            held_since = self._clock() if held_since is None else held_since
            woken.set()

        self._stop = stop_now
        try:
            while True:
                reasons, again_s = await self._reasons(held_since)
                if reasons:
                    stop_now()
                    told(reasons)
                elif held_since is not None:
                    held_since = None
                    told(())
                    go_on()
                woken.clear()
                await _until(woken, again_s)
        finally:
            self._stop = lambda: None

    async def wait_for_room(self, told: Callable[[tuple[str, ...]], None]) -> None:
        """Returns once the machine may be used."""
        since = self._clock()
        while True:
            reasons, again_s = await self._reasons(since)
            if not reasons:
                return
            told(reasons)
            await asyncio.sleep(again_s)

    async def _reasons(self, held_since: float | None) -> tuple[tuple[str, ...], float]:
        """Why nothing may run, and when to look again."""
        left_s = self._held_until - self._clock()
        if left_s > 0:
            return (REQUEST,), left_s
        waited_s = 0.0 if held_since is None else max(0.0, self._clock() - held_since)
        found = await self._room(waited_s if self._presses else 0.0)
        if self._held_until > self._clock():  # announced while the scheduler was asked
            return (REQUEST,), HOLD_S
        if found.room:
            return (), LOOK_S
        return tuple(sorted(found.reasons)) or ("no_room",), min(
            max(found.retry_after_s, SHORTEST_WAIT_S), LONGEST_WAIT_S
        )

    async def _room(self, waited_s: float) -> JobPlacement:
        """Without an answer there is room: a scheduler that is away knows of no requests either."""
        try:
            return await self._bus.request(PLACE_JOB, PlaceJob(kind="train", node_id=self._node_id, waited_s=waited_s))
        except ServiceError as error:
            log.debug("room_not_asked", code=error.code)
            return JobPlacement(room=True)


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
