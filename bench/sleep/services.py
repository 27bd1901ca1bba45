"""One night in the real services: cognition and persistence on a real PostgreSQL, the light phase between them.

What is not real here: the scheduler always has room; the built-in embedder computes in this process (for questions and
imports out of a file of its vectors); the phase's jobs run in this process. What the night proposes goes through the
ledger by the optimizer's own pipeline. Contexts are those of ``SEARCH_MEMORY``, which ``GET /api/v1/memories`` hands
through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import process_time

from sqlalchemy import text

from bench.locomo.data import Conversation, Turn
from bench.locomo.memory import NOW
from bench.locomo.vectors import Vectors
from libs.shared.bus import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.ledger import ChangeState
from libs.shared.contracts.memory import (
    IMPORT_TURNS,
    LIST_MEMORIES,
    SEARCH_MEMORY,
    ImportedTurn,
    ImportTurns,
    ListMemories,
    MemoryItem,
    SearchMemory,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import PLACE, PLACE_JOB, JobPlacement, Placement
from libs.shared.contracts.sleep import PhaseProgress, Tried
from libs.shared.contracts.telemetry import ServedModel
from services.cognition.adapters import OwnedAdapters
from services.cognition.presence import LanguageModel
from services.cognition.service import serve as serve_cognition
from services.cognition.settings import CognitionSettings
from services.optimizer.jobs import found as job_found
from services.optimizer.phases import light
from services.optimizer.phases.base import Job, PhaseReport
from services.optimizer.watch.turns import LatestTurns
from tests.support.database import running_cluster
from tests.support.persistence import Client, RunningPersistence
from tests.support.pipeline import pipeline_over

K = 100
"""As many memories as a search may give: the budget alone bounds the context."""
IMPORTED_AT_ONCE = 200


@dataclass
class Work:
    """What the light phase is given: PhaseWork, whose jobs run in this process."""

    bus: Bus
    folder: Path
    cycle_id: str = "night"
    others: tuple[Tried, ...] = ()
    seconds_left: float = 3600.0

    async def clear(self) -> None: ...

    async def compute(self, job: Job) -> bytes:
        return job_found(job.name)(job.payload)

    def tell(self, progress: PhaseProgress) -> None: ...


@dataclass(frozen=True)
class Slept:
    """What came of the night."""

    report: PhaseReport
    cpu_s: float
    """Of this process: digesting, embedding, sealing; not the database's."""
    digest_bytes: int
    """The digests' rows at rest."""
    index_bytes: int
    """The sealed segments of terms and vectors."""


@dataclass
class House:
    """A user for each conversation."""

    client: Client
    persistence: RunningPersistence
    night: Bus
    folder: Path
    now: datetime = NOW
    """When questions are asked."""
    users: list[str] = field(default_factory=list)
    turns: dict[str, Turn] = field(default_factory=dict)
    """By the memory's id."""

    async def remember(self, conversations: Sequence[Conversation]) -> None:
        for conversation in conversations:
            user_id = await self.client.user()
            self.users.append(user_id)
            said = tuple(
                ImportedTurn(id=t.id, conversation_id=t.session, speaker=t.speaker, text=t.text, at=t.at)
                for t in conversation.turns
            )
            for start in range(0, len(said), IMPORTED_AT_ONCE):
                some = ImportTurns(user_id=user_id, turns=said[start : start + IMPORTED_AT_ONCE])
                await self.client.bus.request(IMPORT_TURNS, some)
            await self._know(user_id, {turn.id: turn for turn in conversation.turns})

    async def _know(self, user_id: str, turns: dict[str, Turn]) -> None:
        cursor: str | None = None
        while True:
            asked = ListMemories(user_id=user_id, limit=500, cursor=cursor)
            page = await self.client.bus.request(LIST_MEMORIES, asked)
            self.turns |= {item.id: turns[item.source_id] for item in page.items}
            if (cursor := page.next_cursor) is None:
                return

    async def ask(self, place: int, question: str, *, k: int = K, tokens: int | None = None) -> tuple[MemoryItem, ...]:
        asked = SearchMemory(user_id=self.users[place], query=question, k=k, budget_tokens=tokens, now=self.now)
        return (await self.client.bus.request(SEARCH_MEMORY, asked)).items

    async def sleep(self) -> Slept:
        """One night; then the pipeline puts in force what it proposed. Raises RuntimeError where that fails."""
        began = process_time()
        report = await light.propose(Work(self.night, self.folder))
        cpu_s = process_time() - began
        pipeline = pipeline_over(self.night, LatestTurns(self.folder / "turns.json"))
        applied = {one.change_id for one in await pipeline.look() if one.state is ChangeState.APPLIED}
        if applied != set(report.changes):
            raise RuntimeError("the ledger did not put in force what the night proposed")
        async with self.persistence.parts.database.transaction() as session:
            sizes = [
                int((await session.scalar(text(f"SELECT coalesce(sum(length(content)), 0) FROM {table}"))) or 0)
                for table in ("digests", "index_segments")
            ]
        return Slept(report, cpu_s, *sizes)


class _Node:
    """Embeds with the built-in embedder; nobody else wants it."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._model = ServedModel(
            name=vectors.embedder.partition("@")[0], backend="onnx", kind="embed", context_tokens=256, dimensions=384
        )

    async def place(self, _: object) -> Placement:
        return Placement(node_id="here", replica="here", model=self._model, policy="alone")

    async def place_job(self, asked: object) -> JobPlacement:
        return JobPlacement(placement=await self.place(asked), room=True)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        if request.background:  # what a night asks for is computed in any case: its cost is measured
            vectors = tuple(vector for vector, _ in self._vectors.load().compute(list(request.texts)))
        else:
            made = self._vectors.of(request.texts, request.purpose)
            vectors = tuple(made[one] for one in request.texts)
        return Embeddings(embedder=self._vectors.embedder, dimensions=384, vectors=vectors, prompt_tokens=0)


@asynccontextmanager
async def house(vectors: Vectors, folder: Path, now: datetime = NOW) -> AsyncIterator[House]:
    """Services in this process, on a server of their own."""
    broker = MemoryBroker()
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(running_cluster())
        persistence = RunningPersistence.on(cluster, folder / "state", broker.connect)
        await persistence.start()
        stack.push_async_callback(persistence.stop)
        buses: dict[Principal, Bus] = {}
        for principal in (
            *(Principal.API, Principal.COGNITION, Principal.SCHEDULER),
            *(Principal.INFERENCE, Principal.OPTIMIZER),
        ):
            buses[principal] = await broker.connect(principal)
            stack.push_async_callback(buses[principal].drain, 1.0)
        node = _Node(vectors)
        await buses[Principal.SCHEDULER].serve(PLACE, node.place)
        await buses[Principal.SCHEDULER].serve(PLACE_JOB, node.place_job)
        await buses[Principal.INFERENCE].serve(EMBED, node.embed, replica="here")
        cognition = buses[Principal.COGNITION]
        runtime = RuntimeSettings()
        await serve_cognition(
            cognition, CognitionSettings(), lambda: runtime, LanguageModel(cognition), OwnedAdapters(cognition)
        )
        nights = folder / "light"
        nights.mkdir()
        client = Client(buses[Principal.API], cognition)
        yield House(client, persistence, buses[Principal.OPTIMIZER], nights, now)
