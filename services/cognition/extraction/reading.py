"""Texts are given to a language model one at a time, when nothing else is under way, after they can be searched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

from libs.shared.bus.base import Bus
from libs.shared.contracts.indexing import READ_UNINDEXED, ReadUnindexed
from libs.shared.contracts.inference import GENERATE, GenerateChunk
from libs.shared.contracts.jobs import FINISH_JOB, FinishJob, JobState
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import PLACE, PlaceJob, Placement, PlaceRequest
from libs.shared.errors import BackendFailed, RemoteNotAllowed, ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.extraction import rules
from services.cognition.extraction.by_model import ANSWER_TOKENS, LONGEST_ANSWER, believed, question
from services.cognition.extraction.drawn import Drawn
from services.cognition.extraction.keeping import FactKeeper
from services.cognition.outcomes import Outcomes
from services.cognition.room import Room
from services.cognition.searchable import Text, of_unindexed
from services.cognition.traffic import Traffic

MOST_WAITING = 256
"""Jobs; those that find no room are offered again by persistence."""
TEXT_S = 60.0
"""A model that takes longer for one text is passed over for it."""
PATIENCE_S = 30.0
"""How long a text waits for a lull."""
MOST_BEGUN = 3
"""A request stops a model that reads, and the text is begun anew; the last time it is read to its end."""

log = get_logger(__name__)


@dataclass(frozen=True)
class ToRead:
    """A job whose texts are indexed and not read by a model yet."""

    job_id: str
    user_id: str
    message_ids: tuple[str, ...]
    came_at: float = field(default_factory=monotonic, compare=False)


class ModelReading:
    """Draws facts by a language model, while the settings say so. Refusals and broken answers change nothing."""

    def __init__(
        self,
        bus: Bus,
        outcomes: Outcomes,
        keeper: FactKeeper,
        traffic: Traffic,
        in_force: Callable[[], RuntimeSettings],
        room: Room | None = None,
    ) -> None:
        """Without ``room`` the scheduler is asked as for any request."""
        self._bus = bus
        self._outcomes = outcomes
        self._keeper = keeper
        self._traffic = traffic
        self._in_force = in_force
        self._room = room
        self._waiting: dict[str, ToRead] = {}
        self._some = asyncio.Event()

    @property
    def wanted(self) -> bool:
        return self._in_force().extraction == "model"

    def offer(self, job: ToRead) -> None:
        """Reads it in its turn and ends it. It isn't done until then: what is lost is offered again."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.setdefault(job.job_id, job)
            self._some.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            job = next(iter(self._waiting.values()))
            try:
                await self.read(job)
            except ServiceError as error:
                log.info("reading_failed", job_id=job.job_id, code=error.code)
            except Exception as error:  # one text's fault ends no other's reading
                log.error("reading_failed", job_id=job.job_id, exc_info=error)
            finally:
                self._waiting.pop(job.job_id, None)
                if not self._waiting:
                    self._some.clear()

    async def read(self, job: ToRead) -> None:
        """Raises what persistence raises; then the job is offered again."""
        asked = ReadUnindexed(user_id=job.user_id, message_ids=job.message_ids, indexed_too=True)
        texts = map(of_unindexed, (await self._bus.request(READ_UNINDEXED, asked)).messages)
        for text in filter(rules.may_state, texts):
            if drawn := await self._between_requests(text, job.came_at):
                await self._keeper.keep(job.user_id, drawn)
        await self._bus.request(FINISH_JOB, FinishJob(job_id=job.job_id, state=JobState.DONE))

    async def _between_requests(self, text: Text, since: float) -> list[Drawn]:
        """Leaves off, which stops the model at its node, when somebody asks something."""
        for _ in range(MOST_BEGUN - 1):
            placed = await self._placed(text, since)
            reading = asyncio.ensure_future(self._drawn(text, placed, stops=True))
            request = asyncio.ensure_future(self._traffic.arrival())
            try:
                await asyncio.wait((reading, request), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    return reading.result()
            finally:
                request.cancel()
                reading.cancel()
                await asyncio.wait((reading, request))
        return await self._drawn(text, await self._placed(text, since), stops=False)

    async def _placed(self, text: Text, since: float) -> Placement | None:
        """In a lull, on a node with room, heat and power for it; None: it may be placed as a request is."""
        await self._traffic.give_way(PATIENCE_S)
        if self._room is None:
            return None
        needed = _needed(text)
        job = PlaceJob(
            kind="chat", needs=needed.needs, prompt_tokens=needed.prompt_tokens, max_tokens=needed.max_tokens
        )
        return (await self._room.wait_for(job, since=since)).placement

    async def _drawn(self, text: Text, placed: Placement | None, *, stops: bool) -> list[Drawn]:
        """What the model notes and the text bears out; nothing when it fails. ``stops``: when somebody asks something;
        else it counts at its node like what somebody waits for."""
        try:
            async with asyncio.timeout(TEXT_S):
                answer = await self._asked(text, placed, stops=stops)
        except (ServiceError, TimeoutError) as error:
            code = error.code if isinstance(error, ServiceError) else "timed_out"
            log.info("text_not_read", code=code, effect="facts by rules alone")
            return []
        return await asyncio.to_thread(lambda: believed(answer, text, rules.draw(text)))

    async def _asked(self, text: Text, placed: Placement | None, *, stops: bool) -> str:
        placed = placed or await self._bus.request(PLACE, _needed(text))
        if placed.model.remote:
            raise RemoteNotAllowed("what was said is read by models of this network alone")
        try:
            answer = await self._streamed(placed, text, stops=stops)
        except ServiceError as error:
            await self._outcomes.failed(placed, error)
            raise
        await self._outcomes.succeeded(placed)
        return answer

    async def _streamed(self, placed: Placement, text: Text, *, stops: bool) -> str:
        request = question(text, model=placed.model.name, request_id=uuid4().hex)
        answer = ""
        last: GenerateChunk | None = None
        request = request.model_copy(update={"ticket": placed.ticket, "background": stops})
        async with self._bus.stream(GENERATE, request, replica=placed.replica) as chunks:
            async for last in chunks:
                answer += last.text
                if len(answer) > LONGEST_ANSWER:
                    return ""
        if last is None or last.finish_reason is None:
            raise BackendFailed("the model's answer ended without an end", reason="broke_off")
        return answer


def _needed(text: Text) -> PlaceRequest:
    tokens = len(text.text.encode()) // 3 + ANSWER_TOKENS
    return PlaceRequest(prompt_tokens=tokens, max_tokens=ANSWER_TOKENS, needs=("json_schema",))
