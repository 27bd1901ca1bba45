"""A night's work in memory: the bus with small services around it, and jobs that run where they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.caching import READ_INDEX_CACHE, CacheCurve
from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    PROPOSE_CHANGE,
    READ_SETTINGS,
    Change,
    ChangeState,
    DecideChange,
    ProposeChange,
    ReadSettings,
    SettingsRead,
)
from libs.shared.contracts.replay import (
    REPLAY_ASKED,
    STILL_ALLOWED,
    Allowed,
    Evidence,
    ReplayAsked,
    Replayed,
    StillAllowed,
)
from libs.shared.contracts.replaying_placements import REPLAY_PLACEMENTS, PlacementsReplayed, ReplayPlacements
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.sleep import PhaseProgress, Tried
from services.optimizer.jobs import found
from services.optimizer.phases.base import Job

PAGE = 50


@dataclass
class Around:
    """What cognition and persistence tell, and what they were asked."""

    evidence: list[Evidence]
    settings: RuntimeSettings
    curve: CacheCurve | None = None
    placements: Callable[[ReplayPlacements], PlacementsReplayed] = lambda _: PlacementsReplayed(reason="none came")
    withdrawn: set[str] = field(default_factory=set)
    proposed: list[ProposeChange] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    decided: list[DecideChange] = field(default_factory=list)

    async def replay(self, request: ReplayAsked) -> Replayed:
        start = int(request.cursor or 0)
        left = [one for one in self.evidence if one.turn_id not in self.withdrawn]
        more = str(start + PAGE) if start + PAGE < len(left) else None
        return Replayed(evidence=tuple(left[start : start + PAGE]), next_cursor=more)

    async def still(self, request: StillAllowed) -> Allowed:
        return Allowed(turn_ids=tuple(one for one in request.turn_ids if one not in self.withdrawn))

    async def read(self, _: ReadSettings) -> SettingsRead:
        return SettingsRead(settings=self.settings)

    async def replay_placements(self, request: ReplayPlacements) -> PlacementsReplayed:
        return self.placements(request)

    async def index_cache(self, _: Empty) -> CacheCurve:
        return self.curve or CacheCurve(sizes_mib=(), size_mib=256, room_mib=256)

    async def propose(self, request: ProposeChange) -> Change:
        self.proposed.append(request)
        change = Change(
            change_id=f"change-{len(self.proposed)}",
            sequence=len(self.proposed),
            key=request.key,
            before=None,
            after=request.value,
            reason=request.reason,
            state=ChangeState.PROPOSED,
            proposed=Stamp(actor=request.actor, at=datetime(2026, 11, 2, tzinfo=UTC)),
            previous_hash="",
            hash="",
        )
        self.changes.append(change)
        return change

    async def decide(self, request: DecideChange) -> Change:
        self.decided.append(request)
        return next(change for change in self.changes if change.change_id == request.change_id)


@dataclass
class Work:
    """As the cycle gives it to a phase."""

    bus: Bus
    folder: Path
    others: tuple[Tried, ...] = ()
    cycle_id: str = "cycle"
    seconds_left: float = 600.0
    before_job: Callable[[Job], None] = lambda _: None
    jobs: list[Job] = field(default_factory=list)
    told: list[PhaseProgress] = field(default_factory=list)

    async def clear(self) -> None:
        await asyncio.sleep(0)

    async def compute(self, job: Job) -> bytes:
        self.before_job(job)
        self.jobs.append(job)
        return await asyncio.to_thread(found(job.name), job.payload)

    def tell(self, progress: PhaseProgress) -> None:
        self.told.append(progress)


@asynccontextmanager
async def night(
    folder: Path,
    evidence: Sequence[Evidence],
    settings: RuntimeSettings | None = None,
    *,
    curve: CacheCurve | None = None,
    placements: Callable[[ReplayPlacements], PlacementsReplayed] = lambda _: PlacementsReplayed(reason="none came"),
    **more: object,
) -> AsyncIterator[tuple[Work, Around]]:
    """The work, and what stands around it."""
    broker = MemoryBroker()
    around = Around(list(evidence), settings or RuntimeSettings(), curve, placements)
    buses = {
        one: await broker.connect(one)
        for one in (Principal.COGNITION, Principal.PERSISTENCE, Principal.SCHEDULER, Principal.OPTIMIZER)
    }
    await buses[Principal.COGNITION].serve(REPLAY_ASKED, around.replay)
    await buses[Principal.PERSISTENCE].serve(STILL_ALLOWED, around.still)
    await buses[Principal.PERSISTENCE].serve(READ_SETTINGS, around.read)
    await buses[Principal.PERSISTENCE].serve(PROPOSE_CHANGE, around.propose)
    await buses[Principal.PERSISTENCE].serve(DECIDE_CHANGE, around.decide)
    await buses[Principal.SCHEDULER].serve(REPLAY_PLACEMENTS, around.replay_placements)
    await buses[Principal.PERSISTENCE].serve(READ_INDEX_CACHE, around.index_cache)
    try:
        yield Work(buses[Principal.OPTIMIZER], folder, **more), around  # type: ignore[arg-type]
    finally:
        for bus in buses.values():
            await bus.drain(1)
