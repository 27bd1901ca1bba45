"""The services around cognition, in small: each does what its contracts say, remembers what it was asked, can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from libs.shared.bus.base import Bus, Delivery
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Speaker, Usage
from libs.shared.contracts.digests import READ_DIGESTS, Digest, Digests, Generation, ReadDigests
from libs.shared.contracts.indexing import (
    INDEX_MESSAGES,
    READ_UNINDEXED,
    Indexed,
    IndexMessages,
    ReadUnindexed,
    UnindexedMessage,
    UnindexedMessages,
)
from libs.shared.contracts.inference import (
    EMBED,
    GENERATE,
    Embeddings,
    EmbedRequest,
    GenerateChunk,
    GenerateRequest,
)
from libs.shared.contracts.jobs import FINISH_JOB, FinishJob, JobFinished, JobState
from libs.shared.contracts.keeping import FIND_FACTS, KEEP_FACTS, Facts, FindFacts, KeepFacts
from libs.shared.contracts.memory import MemoryItem, MemoryKind
from libs.shared.contracts.recall import (
    FIND_CANDIDATES,
    READ_MEMORIES,
    READ_PROFILE,
    Candidates,
    FindCandidates,
    MemoriesRead,
    Profile,
    ReadMemories,
    ReadProfile,
)
from libs.shared.contracts.scheduling import (
    OUTCOME,
    PLACE,
    PLACE_JOB,
    JobPlacement,
    Outcome,
    PlaceJob,
    Placement,
    PlaceRequest,
    Ticket,
)
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.contracts.turns import (
    JOIN_TURN,
    OPEN_TURN,
    READ_TURNS,
    TURN_COMPLETED,
    Joined,
    JoinTurn,
    OpenTurn,
    ReadTurns,
    TurnCompleted,
    TurnKey,
    TurnMessage,
    TurnMessages,
)
from libs.shared.errors import (
    BackendFailed,
    ConversationNotFound,
    ModelNotFound,
    NoModel,
    NoNode,
    Overloaded,
    ServiceError,
)
from libs.shared.sealing import new_key, unseal
from libs.shared.text import terms
from services.cognition.traits import traits_of

Connect = Callable[[Principal], Awaitable[Bus]]
Answers = Callable[[GenerateRequest], AsyncIterator[GenerateChunk]]
USAGE = Usage(prompt_tokens=7, completion_tokens=3)
LLAMA = ServedModel(name="llama", backend="llama_cpp", context_tokens=2048)
MINILM = ServedModel(name="minilm", backend="minilm", kind="embed", context_tokens=256, dimensions=2)


@dataclass
class Persistence:
    """Keys by slot, applied turns, and whatever it is told to know or to refuse."""

    bus: Bus
    keys: dict[int, bytes] = field(default_factory=dict)
    turns: list[TurnCompleted] = field(default_factory=list)
    known: list[MemoryItem] = field(default_factory=list)
    """What is indexed; a memory's ordinal is its place."""
    fresh: list[MemoryItem] = field(default_factory=list)
    uses: dict[str, int] = field(default_factory=dict)
    embedder: str | None = None
    """Of the vectors that the memory has."""
    digests: dict[str, Digest] | None = None
    """By memory; None: no generation is in force."""
    kept_facts: list[KeepFacts] = field(default_factory=list)
    history: dict[str, tuple[TurnMessage, ...]] = field(default_factory=dict)
    place: Joined = field(default_factory=Joined)
    """Where every resent history ends."""
    unindexed: list[UnindexedMessage] = field(default_factory=list)
    indexed: list[IndexMessages] = field(default_factory=list)
    jobs: list[FinishJob] = field(default_factory=list)
    asked: list[object] = field(default_factory=list)
    refusing: dict[str, ServiceError] = field(default_factory=dict)
    applied: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        await self.bus.serve(OPEN_TURN, self.open_turn)
        await self.bus.serve(READ_TURNS, self.read_turns)
        await self.bus.serve(JOIN_TURN, self.join_turn)
        await self.bus.serve(READ_PROFILE, self.profile)
        await self.bus.serve(FIND_CANDIDATES, self.find)
        await self.bus.serve(READ_MEMORIES, self.read_memories)
        await self.bus.serve(READ_DIGESTS, self.read_digests)
        await self.bus.serve(FIND_FACTS, self.find_facts)
        await self.bus.serve(KEEP_FACTS, self.keep_facts)
        await self.bus.serve(READ_UNINDEXED, self.read_unindexed)
        await self.bus.serve(INDEX_MESSAGES, self.index)
        await self.bus.serve(FINISH_JOB, self.finish)
        consumer = TURN_COMPLETED.consumers[0]
        await self.bus.consume(TURN_COMPLETED, consumer, self.apply)

    def _note(self, question: object, name: str) -> None:
        self.asked.append(question)
        if name in self.refusing:
            raise self.refusing[name]

    async def open_turn(self, question: OpenTurn) -> TurnKey:
        self._note(question, "open_turn")
        slot = len(self.keys)
        self.keys[slot] = new_key()
        return TurnKey(slot=slot, key=self.keys[slot])

    async def read_turns(self, question: ReadTurns) -> TurnMessages:
        self._note(question, "read_turns")
        if question.conversation_id not in self.history:
            raise ConversationNotFound
        return TurnMessages(messages=self.history[question.conversation_id][-question.max_messages :])

    async def join_turn(self, question: JoinTurn) -> Joined:
        self._note(question, "join_turn")
        return self.place

    async def profile(self, question: ReadProfile) -> Profile:
        self._note(question, "profile")
        names = dict.fromkeys(item.speaker for item in self.known if item.speaker not in tuple(Speaker))
        generation = None if self.digests is None else 1
        return Profile(names=tuple(names), embedder=self.embedder, memories=len(self.known), digests=generation)

    async def find(self, question: FindCandidates) -> Candidates:
        self._note(question, "find")
        wanted = frozenset(question.terms)
        shared = {place: len(wanted & set(terms(item.text))) for place, item in enumerate(self.known)}
        found = [place for place, count in shared.items() if count or self._is_newer(place, shared)]
        items = [self.known[place] for place in found]
        names = tuple(dict.fromkeys(item.speaker for item in items))
        places = {item.id: place for place, item in enumerate(items)}
        return Candidates(
            ordinals=tuple(found),
            conversations=tuple(hash(item.conversation_id) % 2**31 for item in items),
            speakers=tuple(names.index(item.speaker) for item in items),
            at=tuple(item.at.timestamp() for item in items),
            words=tuple(len(item.text.split()) for item in items),
            traits=tuple(traits_of(item.text) for item in items),
            importance=tuple(item.importance for item in items),
            uses=tuple(self.uses.get(item.id, 0) for item in items),
            used_at=tuple(0.0 for _ in items),
            pinned=tuple(item.pinned for item in items),
            bm25=tuple(float(shared[place]) for place in found),
            cosine=tuple(None for _ in items),
            newer=tuple(places.get(item.superseded_by or "", -1) for item in items),
            names=names,
            whole_bm25=float(len(wanted)),
            fresh=tuple(self.fresh),
        )

    def _is_newer(self, place: int, shared: dict[int, int]) -> bool:
        """Whether it supersedes something that is found."""
        own = self.known[place].id
        return any(item.superseded_by == own and shared[other] for other, item in enumerate(self.known))

    async def read_memories(self, question: ReadMemories) -> MemoriesRead:
        self._note(question, "read_memories")
        items = tuple(self.known[ordinal] for ordinal in question.ordinals)
        return MemoriesRead(ordinals=question.ordinals, items=items)

    async def read_digests(self, question: ReadDigests) -> Digests:
        self._note(question, "read_digests")
        if self.digests is None:
            return Digests()
        generation = Generation(generation_id="g", number=1, base=1, recipe="r@1", embedder=self.embedder)
        told = tuple(self.digests[one] for one in question.message_ids if one in self.digests)
        return Digests(generation=generation, digests=told)

    async def find_facts(self, question: FindFacts) -> Facts:
        self._note(question, "find_facts")
        return Facts(facts=())

    async def keep_facts(self, question: KeepFacts) -> Facts:
        self._note(question, "keep_facts")
        self.kept_facts.append(question)
        return Facts(facts=question.facts)

    async def read_unindexed(self, question: ReadUnindexed) -> UnindexedMessages:
        self._note(question, "read_unindexed")
        return UnindexedMessages(messages=tuple(m for m in self.unindexed if m.message_id in question.message_ids))

    async def index(self, question: IndexMessages) -> Indexed:
        self._note(question, "index")
        self.indexed.append(question)
        for job_id in question.done_jobs:
            await self.finish(FinishJob(job_id=job_id, state=JobState.DONE))
        return Indexed(count=len(question.rows))

    async def finish(self, report: FinishJob) -> JobFinished:
        self.jobs.append(report)
        self.finished.set()
        return JobFinished(changed=True)

    async def apply(self, delivery: Delivery[TurnCompleted]) -> None:
        self.turns.append(delivery.message)
        self.applied.set()

    def remember(self, text: str, *, speaker: str = Speaker.USER, **about: Any) -> MemoryItem:
        """Something that is indexed."""
        item = memory(f"m{len(self.known)}", text, speaker=speaker, **about)
        self.known.append(item)
        return item

    def texts(self, turn: TurnCompleted) -> list[tuple[str, str]]:
        """The turn's messages as who keeps the keys reads them."""
        return [(m.speaker.value, unseal(self.keys[m.text.slot], m.text.sealed).decode()) for m in turn.messages]


def memory(message_id: str, text: str, *, speaker: str = Speaker.USER, **about: Any) -> MemoryItem:
    """A memory of an earlier conversation."""
    told = {
        "id": message_id,
        "kind": MemoryKind.MESSAGE,
        "text": text,
        "source_id": message_id,
        "conversation_id": "earlier",
        "speaker": str(speaker),
        "at": datetime(2026, 5, 1, tzinfo=UTC),
    }
    return MemoryItem.model_validate(told | about)


async def whole(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    """An answer in three chunks."""
    yield GenerateChunk(text="Your dog ")
    yield GenerateChunk(text="is Rex.")
    yield GenerateChunk(finish_reason="stop", usage=USAGE)


@dataclass
class Inference:
    """Replicas ``r0``, ``r1`` …, each with its own way to answer."""

    bus: Bus
    requests: list[tuple[str, GenerateRequest]] = field(default_factory=list)
    embedded: list[tuple[str, ...]] = field(default_factory=list)
    in_background: list[bool] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    embed_refusal: ServiceError | None = None
    embed_refusal_after: int | None = None
    """Requests that are answered before all further ones fail."""

    async def start(self, *answers: Answers) -> None:
        for number, answer in enumerate(answers):
            await self.bus.serve_stream(GENERATE, self._answering(f"r{number}", answer), replica=f"r{number}")

    def _answering(self, replica: str, answer: Answers) -> Callable[[GenerateRequest], AsyncIterator[GenerateChunk]]:
        async def generate(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            self.requests.append((replica, request))
            try:
                async for chunk in answer(request):
                    yield chunk
            finally:
                self.closed.set()

        return generate

    async def start_embedder(self) -> None:
        await self.bus.serve(EMBED, self.embed, replica="e0")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        if self.embed_refusal is not None:
            raise self.embed_refusal
        if self.embed_refusal_after is not None and len(self.embedded) >= self.embed_refusal_after:
            raise BackendFailed("broken")
        self.embedded.append(request.texts)
        self.in_background.append(request.background)
        vectors = tuple(b"\x00" * 8 for _ in request.texts)
        return Embeddings(embedder="minilm@1", dimensions=2, vectors=vectors, prompt_tokens=1)


@dataclass
class Scheduler:
    """Places on the replicas that it is given, in their order."""

    bus: Bus
    replicas: int
    model: ServedModel = LLAMA
    embedder: bool = False
    ticket: Ticket | None = None
    apart: bool = False
    """Whether each replica is on a node of its own, placed with a ticket of its own."""
    expected_first_s: float | None = None
    refusal: ServiceError | None = None
    """Of whatever is to go to another node as well."""
    slowest_s: float = 0.0
    """Seconds in which another node would speak."""
    hold: asyncio.Event | None = None
    """That is placed only once this is set."""
    asked: list[PlaceRequest] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    jobs: list[PlaceJob] = field(default_factory=list)
    rooms: list[JobPlacement] = field(default_factory=list)
    """What jobs are answered, one after the other; the last for ever."""

    async def start(self) -> None:
        await self.bus.serve(PLACE, self.place)
        await self.bus.subscribe(OUTCOME, self.hear)

    async def place(self, request: PlaceRequest) -> Placement:
        self.asked.append(request)
        if request.exclude_nodes and self.refusal is not None:
            raise self.refusal
        if (request.first_within_s or self.slowest_s) < self.slowest_s:
            raise Overloaded("too slow", retry_after_s=1.0)
        if request.exclude_nodes and self.hold is not None:
            await self.hold.wait()
        if request.kind == "embed":
            return self._place(["e0"] if self.embedder else [], request, MINILM)
        if request.model not in (None, self.model.name):
            raise ModelNotFound("no such model")
        return self._place([f"r{n}" for n in range(self.replicas)], request, self.model)

    async def has_room(self, *rooms: JobPlacement) -> None:
        """From now on jobs are answered, too."""
        self.rooms = list(rooms)
        await self.bus.serve(PLACE_JOB, self.place_job)

    async def place_job(self, request: PlaceJob) -> JobPlacement:
        self.jobs.append(request)
        return self.rooms.pop(0) if len(self.rooms) > 1 else self.rooms[0]

    def _place(self, replicas: list[str], request: PlaceRequest, model: ServedModel) -> Placement:
        if not replicas:
            raise NoModel("none")
        left = [r for r in replicas if r not in request.exclude and self._node(r) not in request.exclude_nodes]
        if not left:
            raise NoNode("all were tried", retry_after_s=1.0)
        return Placement(
            node_id=self._node(left[0]),
            replica=left[0],
            model=model,
            policy="first",
            ticket=Ticket(scheduler="one", number=len(self.asked)) if self.apart else self.ticket,
            expected_first_s=self.expected_first_s,
        )

    def _node(self, replica: str) -> str:
        return f"node-of-{replica}" if self.apart else "node"

    async def hear(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.told.set()
