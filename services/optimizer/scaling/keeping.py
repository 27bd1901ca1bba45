"""Seeing to it that there are as many workers as the ledger says, and proposing another count where the load asks for
one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic

from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, asks_approval
from libs.shared.contracts.ledger import ChangeKind as Kind
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.sleep import Scaled
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger, metrics
from services.optimizer.scaling.base import Autoscaled, Count, Scaler, ScalingError
from services.optimizer.scaling.changing import UNDECIDED, Counts, judged
from services.optimizer.scaling.deciding import FEWER_AFTER_S, LOOK_EVERY_S, Decision, Load, Room, Standing, decide
from services.optimizer.scaling.hearing import Heard, service_of

ANSWER_S = 30.0
"""What runs the workers has so long for an answer."""
_LOOKS = int(FEWER_AFTER_S / LOOK_EVERY_S) + 4

log = get_logger(__name__)


def asked_for(settings: RuntimeSettings, name: str, count: Count) -> int:
    """How many of ``name`` the ledger says: as many as it was set up with where it says nothing, and never more than
    there may be. Fewer than ``least`` are somebody's own wish, which the watch judges. Pure."""
    return min(settings.workers.get(name, count.least), count.most)


class Scaling:
    """``run`` goes on until it is cancelled; ``room`` is asked for each name that wants more."""

    def __init__(
        self,
        scaler: Scaler,
        counts: Counts,
        heard: Heard,
        in_force: Callable[[], RuntimeSettings],
        room: Callable[[str], Room],
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._scaler, self._counts, self._heard = scaler, counts, heard
        self._in_force, self._room = in_force, room
        self._clock, self._wall = clock, wall
        self._loads: dict[str, deque[Load]] = {}
        self._said: dict[str, str] = {}
        self._seen: Mapping[str, Count] = {}
        self._woken = asyncio.Event()
        self._read = asyncio.Event()

    def wake(self) -> None:
        """The settings were read: looks now."""
        self._read.set()
        self._woken.set()

    async def run(self) -> None:
        """Looks every few seconds, and as soon as settings change; at nothing before it is known what is in force."""
        try:
            await self._read.wait()
            while True:
                self._woken.clear()
                await self._look_safely()
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._woken.wait()
                except TimeoutError:
                    continue
        finally:
            await self._scaler.close()

    def told(self) -> tuple[Scaled, ...]:
        """As the last look saw it."""
        return tuple(
            Scaled(
                name=name,
                running=count.running,
                wanted=count.wanted,
                least=count.least,
                most=count.most,
                autoscaled=count.autoscaled,
                reason=self._said.get(name, "")[:300],
            )
            for name, count in self._seen.items()
        )

    async def look(self) -> None:
        """One look: what is asked for, what there is, what the load asks for. Raises ScalingError, ServiceError."""
        async with asyncio.timeout(ANSWER_S):
            seen = await self._scaler.counts()
        self._measure(seen)
        self._take_loads()
        await self._refuse_what_does_not_fit()
        settled = [name for name, count in self._seen.items() if not await self._seen_to(name, count)]
        wanted = [name for name in settled if await self._wants(name, self._seen[name])]
        if not wanted:
            await self._counts.withdraw("the load asks for no other count any more")

    async def _look_safely(self) -> None:
        try:
            await self.look()
        except (ScalingError, TimeoutError) as error:
            self._say("scaling", f"nothing can be scaled now: {error or 'no answer in time'}")
        except ServiceError as error:
            log.debug("scaling_not_looked", code=error.code)

    def _measure(self, seen: Mapping[str, Count]) -> None:
        for name in self._seen.keys() | seen.keys():
            before, now = (found[name].running if name in found else 0 for found in (self._seen, seen))
            metrics.SCALING_WORKERS.add(now - before, {"scaling.workers.of": service_of(name)})
        self._seen = seen

    def _take_loads(self) -> None:
        for name in self._seen:
            load = self._heard.load(name)
            if load is not None:
                self._loads.setdefault(name, deque(maxlen=_LOOKS)).append(load)

    async def _seen_to(self, name: str, count: Count) -> bool:
        """Whether another count was asked for just now."""
        wanted = asked_for(self._in_force(), name, count)
        if wanted == count.wanted:
            return False
        if count.autoscaled:
            self._say(name, "an autoscaler decides how many there are")
            return False
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._scaler.scale(name, wanted)
        except Autoscaled as error:
            self._say(name, str(error))
            return False
        direction = "more" if wanted > count.wanted else "fewer"
        metrics.SCALING_CHANGES.add(1, {"scaling.workers.of": service_of(name), "scaling.direction": direction})
        log.info("scaled", workers=name, before=count.wanted, after=wanted)
        self._loads.pop(name, None)
        return True

    async def _refuse_what_does_not_fit(self) -> None:
        """What people proposed and nobody has put in force."""
        most = {name: count.most for name, count in self._seen.items()}
        idle_s = self._clock() - self._heard.asked_s if self._heard.asked_s is not None else float("inf")
        for change in await self._counts.in_flight():
            if change.state in UNDECIDED and change.proposed.actor != OPTIMIZER_ACTOR:
                found = judged(change.before, change.after, most, idle_s)
                if not found.fits:
                    await self._counts.refuse(change, found.reason)

    async def _wants(self, name: str, count: Count) -> bool:
        """Whether the load asks for another count, which is proposed then."""
        decided = await self._decided(name, count)
        self._say(name, decided.reason)
        if decided.count == count.wanted:
            return False
        settings = self._in_force()
        wanted = {**settings.workers, name: decided.count}
        change = await self._counts.change(wanted, f"{name} {decided.reason}")
        if change is not None and not asks_approval(settings, Kind.SETTING):
            await self._counts.apply(change, "the load decided; the watch goes on deciding")
        return True

    async def _decided(self, name: str, count: Count) -> Decision:
        loads, now = self._loads.get(name, ()), self._clock()
        found = decide(count, tuple(loads), self._room(name), Standing(), now)
        if found.count == count.wanted:
            return found
        return decide(count, tuple(loads), self._room(name), await self._standing(now), now)

    async def _standing(self, now: float) -> Standing:
        """Of any of the names: one change at a time can be told from another."""
        moved = await self._counts.last_moved()
        if moved is None:
            return Standing()
        ago_s = (self._wall() - moved[0]).total_seconds()
        return Standing(now - max(0.0, ago_s), moved[1])

    def _say(self, name: str, reason: str) -> None:
        if self._said.get(name) != reason:
            self._said[name] = reason
            log.debug("scaling_decided", workers=name, reason=reason)
