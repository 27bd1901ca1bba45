"""Index jobs: what was kept becomes searchable in rounds, by its words soon and by vectors where there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

from libs.shared.bus.base import Bus, Delivery
from libs.shared.contracts.indexing import INDEX_REQUESTED, READ_UNINDEXED, IndexRequested, ReadUnindexed
from libs.shared.contracts.jobs import FINISH_JOB, FinishJob, JobState
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.extraction.reading import ModelReading, ToRead
from services.cognition.room import SHORTEST_WAIT_S, Berth, Room
from services.cognition.searchable import Portions, Searchable, Text, Wanted, of_unindexed
from services.cognition.traffic import Pauses, Traffic

READ_AT_ONCE = 1000
WRITE_AT_ONCE = 64
ROUND_JOBS = 16
"""Jobs that get their vectors in one round, after which room is asked for anew."""
CROWDED_ROUND_JOBS = 64
"""The same where so many wait that room is waited for no longer: what a round costs beside its vectors is shared."""
CROWDED = INDEX_REQUESTED.consumers[0].at_once * 3 // 4
"""When so many deliveries wait for vectors, room is waited for no longer: the next one's words would wait, too."""
SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 2.0
PAUSE_SHARE = 3.0
"""While turns are under way a pause lasts so many times the round before it: indexing keeps a quarter of the time."""
BEHIND_S = 60.0
"""So long indexing gives way to requests, all together, until it has caught up. Beyond that it works half the time,
less what its portions lose that are stopped in the middle."""

log = get_logger(__name__)


def together(jobs: Iterable[Job]) -> list[list[Job]]:
    """What can be indexed at once: one user's jobs for one embedder, but alone what failed before. Pure."""
    groups: dict[tuple[str, str | None, str], list[Job]] = {}
    for job in jobs:
        alone = job.job_id if job.attempt > 1 else ""
        groups.setdefault((job.request.user_id, job.request.embedder, alone), []).append(job)
    return list(groups.values())


@dataclass(eq=False)
class Job:
    """A delivery that waits for its rounds: one for the words, which is soon, and one for the vectors."""

    request: IndexRequested
    job_id: str
    attempt: int
    came_at: float
    worded: bool = False
    done: bool = False
    error: Exception | None = None

    def failed(self, error: Exception) -> None:
        self.error = error
        self.done = True


class Pace:
    """How long indexing gives way: not at all before a round once others have held it up for long."""

    def __init__(self) -> None:
        self._pause_s = SHORTEST_PAUSE_S
        self._behind_since: float | None = None
        self._gave_way_s = 0.0

    @property
    def pause_s(self) -> float:
        """Before the next round."""
        return self._pause_s if self.patience_s else 0.0

    @property
    def patience_s(self) -> float:
        """How long it may still give way, all together, until it has caught up."""
        return max(0.0, BEHIND_S - self._gave_way_s)

    def since(self, came_at: float) -> float:
        """Since when what came then has been waiting, by this clock: behind others that wait it came late, but it waits
        no longer than they do for what holds all of them back."""
        return came_at if self._behind_since is None else min(came_at, self._behind_since)

    def gave_way(self, seconds: float) -> None:
        """To requests, or for want of room."""
        self._gave_way_s += seconds

    def ended(self, took_s: float, *, came_at: float, more: bool) -> None:
        """A round has ended whose oldest job came then; ``more``: it was full, and others wait."""
        self._pause_s = min(max(took_s * PAUSE_SHARE, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        if not more:
            self._behind_since = None
            self._gave_way_s = 0.0
        elif self._behind_since is None:
            self._behind_since = came_at


class Indexer:
    """Consumes INDEX_REQUESTED, in rounds of what has come meanwhile."""

    def __init__(
        self,
        bus: Bus,
        searchable: Searchable,
        embed_batch: int,
        traffic: Traffic,
        pace: Pace | None = None,
        reading: ModelReading | None = None,
        room: Room | None = None,
    ) -> None:
        """Without ``room`` the scheduler is asked as for any request."""
        self._bus = bus
        self._searchable = searchable
        self._room = room
        self._portions = Portions(embed_batch, WRITE_AT_ONCE)
        self._traffic = traffic
        self._pace = pace or Pace()
        self._reading = reading
        self._waiting: dict[Job, None] = {}
        self._words = asyncio.Lock()
        self._round = asyncio.Lock()

    async def index(self, delivery: Delivery[IndexRequested]) -> None:
        """Raises, for another delivery, when something is away; the last one reports the job as failed."""
        job = Job(delivery.message, delivery.message.job_id or delivery.message_id, delivery.attempt, monotonic())
        self._waiting[job] = None
        try:
            async with self._words:
                if not job.worded:
                    await self._run_words()
            async with self._round:
                if not job.done:
                    await self._run_round(job)
        finally:
            del self._waiting[job]
        if job.error is None:
            return
        if self._bus.stopping or not (delivery.last_attempt and isinstance(job.error, ServiceError)):
            raise job.error
        log.warning("indexing_failed", job_id=job.job_id, code=job.error.code)
        report = FinishJob(job_id=job.job_id, state=JobState.FAILED, error=job.error.code)
        await self._bus.request(FINISH_JOB, report)

    async def _run_words(self) -> None:
        """Lets all that waits be found by its words, whatever its vectors have to wait for; it gives way once and not
        for each user, or a busy house would never catch up."""
        await self._traffic.give_way(self._pace.pause_s)
        pauses = Pauses(self._traffic, min(LONGEST_PAUSE_S, self._pace.patience_s))
        for group in together(job for job in self._waiting if not job.worded):
            try:
                await self._index_words(group, pauses)
            except Exception as error:  # each of them raises it to the bus, which logs it
                for job in group:
                    job.failed(error)
            for job in group:
                job.worded = True
        self._pace.gave_way(pauses.paused_s)

    async def _run_round(self, leader: Job) -> None:
        """Indexes what waits; those of the round who come after the leader find their job done."""
        await self._traffic.give_way(self._pace.pause_s)
        others = [job for job in self._waiting if job is not leader and job.worded and not job.done]
        most = CROWDED_ROUND_JOBS if self._crowded else ROUND_JOBS
        jobs = [leader, *others[: most - 1]]
        worked_s = 0.0
        for group in together(jobs):
            try:
                worked_s += await self._index(group)
            except Exception as error:  # each of them raises it to the bus, which logs it
                for job in group:
                    job.failed(error)
            for job in group:
                job.done = True
        more = len(jobs) == most and not all(job.done for job in self._waiting)
        self._pace.ended(worked_s, came_at=min(job.came_at for job in jobs), more=more)

    @property
    def _crowded(self) -> bool:
        return len(self._waiting) >= CROWDED

    def _since(self, jobs: Sequence[Job]) -> float:
        return self._pace.since(min(job.came_at for job in jobs))

    async def _index_words(self, jobs: Sequence[Job], pauses: Pauses) -> None:
        """Jobs of one user. Raises what persistence raises."""
        first = jobs[0].request
        if first.embedder is not None:
            return  # another embedder takes over: the words are there
        texts, _ = await self._read(jobs)
        wanted = Wanted(user_id=first.user_id, pause=pauses)
        await self._searchable.make_words(texts, wanted, WRITE_AT_ONCE)

    async def _index(self, jobs: Sequence[Job]) -> float:
        """Vectors for jobs of one user and embedder; for how many seconds it was at work. Raises the embedder's
        refusal."""
        first = jobs[0].request
        reading = self._reading if self._reading and self._reading.wanted and first.embedder is None else None
        texts, in_use = await self._read(jobs)
        embedder = first.embedder or in_use
        berth = Berth()
        if any(text.memorable for text in texts):
            berth, waited_s = await self._berth(embedder, jobs)
            self._pace.gave_way(waited_s)
            if waited_s >= SHORTEST_WAIT_S:  # meanwhile some may have been forgotten or edited, or the embedder changed
                texts, in_use = await self._read(jobs)
                embedder = first.embedder or in_use
                berth = berth if berth.serves(embedder) else Berth()
        began = monotonic()
        pauses = Pauses(self._traffic, self._pace.patience_s)
        wanted = Wanted(
            user_id=first.user_id,
            embedder=embedder,
            vectors_alone=first.embedder is not None,
            words_there=True,
            jobs=() if reading else tuple(job.job_id for job in jobs),
            pause=pauses,
            stopped=pauses.refused,
            berth=berth,
        )
        outcome = await self._searchable.make(texts, wanted, self._portions)
        self._pace.gave_way(pauses.paused_s)
        if outcome.failure is not None:
            raise outcome.failure
        if reading is not None:
            for job in jobs:
                reading.offer(ToRead(job.job_id, first.user_id, job.request.message_ids))
        return monotonic() - began - pauses.paused_s

    async def _berth(self, embedder: str | None, jobs: Sequence[Job]) -> tuple[Berth, float]:
        """A node with room, and for how many seconds it had to be waited for."""
        if self._room is None:
            return Berth(), 0.0
        began = monotonic()
        berth = await self._room.find(embedder, since=self._since(jobs), crowded=lambda: self._crowded)
        return berth, monotonic() - began

    async def _read(self, jobs: Sequence[Job]) -> tuple[list[Text], str | None]:
        """The texts that are left, and the embedder that the user's memory has."""
        first = jobs[0].request
        ids = [message_id for job in jobs for message_id in job.request.message_ids]
        found: list[Text] = []
        in_use: str | None = None
        for start in range(0, len(ids), READ_AT_ONCE):
            chosen = tuple(ids[start : start + READ_AT_ONCE])
            question = ReadUnindexed(user_id=first.user_id, message_ids=chosen, embedder=first.embedder)
            reply = await self._bus.request(READ_UNINDEXED, question)
            found += map(of_unindexed, reply.messages)
            in_use = reply.embedder or in_use
        return found, in_use
