"""The light phase against real persistence: bounded batches, resumed, and put before the ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from libs.shared.bus import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.digests import READ_DIGESTS, Digest, ReadDigests
from libs.shared.contracts.indexing import INDEX_MESSAGES, IndexMessages, IndexRow
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    LIST_CHANGES,
    VERIFY_LEDGER,
    Change,
    ChangeState,
    DecideChange,
    Decision,
    ListChanges,
    VerifyLedger,
)
from libs.shared.contracts.memory import FORGET_MEMORY, LIST_MEMORIES, ListMemories, MemoryRef
from libs.shared.contracts.scheduling import PLACE_JOB, JobPlacement, PlaceJob, Placement
from libs.shared.contracts.sleep import PhaseProgress, Tried
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import Preempted
from services.cognition.composing import composed
from services.cognition.digests import read_digests
from services.cognition.question import Question
from services.cognition.selection import Hit
from services.optimizer.jobs import found as job_found
from services.optimizer.phases import light
from services.optimizer.phases.base import Job, PhaseReport
from services.optimizer.watch.turns import LatestTurns
from tests.support.persistence import Client, RunningPersistence, imported
from tests.support.pipeline import pipeline_over

EMBEDDER = "mini@1"
MINI = ServedModel(name="mini", backend="mini", kind="embed", context_tokens=256, dimensions=4)


@dataclass
class Work:
    """PhaseWork on a real bus: jobs run here, through bytes as in the child."""

    bus: Bus
    folder: Path
    cycle_id: str = "night"
    others: tuple[Tried, ...] = ()
    seconds_left: float = 600.0
    jobs: int = 0
    most_jobs: int = 1000
    """After so many the time is over."""
    told: list[PhaseProgress] = field(default_factory=list)

    async def clear(self) -> None: ...

    async def compute(self, job: Job) -> bytes:
        self.jobs += 1
        if self.jobs >= self.most_jobs:
            self.seconds_left = 0.0
        return job_found(job.name)(job.payload)

    def tell(self, progress: PhaseProgress) -> None:
        self.told.append(progress)


@dataclass
class Ledger:
    """The real one, and the pipeline that drives changes through it."""

    bus: Bus
    folder: Path

    async def driven(self, *, later: timedelta = timedelta()) -> list[Change]:
        """One look of the pipeline, so much later than now."""
        turns = LatestTurns(self.folder / "turns.json")
        return await pipeline_over(self.bus, turns, clock=lambda: datetime.now(UTC) + later).look()

    async def changes(self) -> tuple[Change, ...]:
        """Newest first, with their steps."""
        return (await self.bus.request(LIST_CHANGES, ListChanges(steps=True))).changes

    async def applied(self) -> Change:
        """What was accepted comes into force."""
        (change,) = await self.driven()
        assert change.state is ChangeState.APPLIED
        return change

    async def kept(self) -> None:
        """A day without turns goes by, so that the watch is over."""
        (change,) = await self.driven(later=timedelta(hours=25))
        assert change.state is ChangeState.KEPT


@dataclass
class Node:
    """A scheduler and a node that embeds."""

    room: bool = True
    refusal: Exception | None = None
    embedded: list[EmbedRequest] = field(default_factory=list)

    async def place(self, _: PlaceJob) -> JobPlacement:
        placed = Placement(node_id="n", replica="e0", model=MINI, policy="test")
        return JobPlacement(placement=placed if self.room else None, room=self.room)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.embedded.append(request)
        if self.refusal is not None:
            raise self.refusal
        vectors = tuple(np.full(4, 0.5, dtype="<f4").tobytes() for _ in request.texts)
        return Embeddings(embedder=EMBEDDER, dimensions=4, vectors=vectors, prompt_tokens=1)


@pytest_asyncio.fixture
async def node(broker: MemoryBroker) -> AsyncIterator[Node]:
    node = Node()
    scheduler, inference = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.INFERENCE)
    await scheduler.serve(PLACE_JOB, node.place)
    await inference.serve(EMBED, node.embed, replica="e0")
    yield node
    await scheduler.drain(1)
    await inference.drain(1)


@pytest_asyncio.fixture
async def work(broker: MemoryBroker, persistence: RunningPersistence, tmp_path: Path) -> AsyncIterator[Work]:
    """After ``persistence``, which serves the ledger."""
    bus = await broker.connect(Principal.OPTIMIZER)
    folder = tmp_path / "light"
    folder.mkdir()
    yield Work(bus, folder)
    await bus.drain(1)


@pytest.fixture
def ledger(work: Work, tmp_path: Path) -> Ledger:
    return Ledger(work.bus, tmp_path)


async def remembered(client: Client, count: int, first: int = 0, user_id: str | None = None) -> tuple[str, list[str]]:
    """A user with so many indexed memories, each of a greeting and a telling sentence."""
    user_id = user_id or await client.user()
    texts = [f"Hey there, good to see you! I met friend {n} in Lyon yesterday." for n in range(first, first + count)]
    turns = (imported(f"t{first + n}", text, minute=first + n) for n, text in enumerate(texts))
    ids = [item.id for item in (await client.import_turns(user_id, *turns)).items]
    vector = np.full(4, 0.5, dtype="<f4").tobytes()
    rows = tuple(IndexRow(message_id=one, terms={"lyon": 1}, vector=vector) for one in ids)
    await client.cognition.request(INDEX_MESSAGES, IndexMessages(user_id=user_id, embedder=EMBEDDER, rows=rows))
    return user_id, ids


async def night(work: Work) -> PhaseReport:
    return await light.propose(work)


async def test_a_night_digests_what_was_said_and_the_ledger_puts_it_in_force(
    client: Client, node: Node, work: Work, ledger: Ledger
) -> None:
    user_id, ids = await remembered(client, 40)
    report = await night(work)
    assert report.figures["digests"] == 40
    assert report.figures["tokens_after"] < report.figures["tokens_before"]
    assert all(request.background for request in node.embedded)
    asked = ReadDigests(user_id=user_id, message_ids=tuple(ids))
    assert (await client.cognition.request(READ_DIGESTS, asked)).generation is None
    change = await ledger.applied()
    assert report.changes == (change.change_id,)
    read = await client.cognition.request(READ_DIGESTS, asked)
    told = {one.message_id: one for one in read.digests}
    assert told[ids[3]].sentences == ("I met friend 3 in Lyon yesterday (28 February 2026).",)
    assert len(told[ids[3]].vectors) == 4
    assert read.generation is not None
    assert read.generation.embedder == EMBEDDER


async def test_the_ledger_tells_what_was_measured_and_its_chain_verifies(
    client: Client, node: Node, work: Work, ledger: Ledger
) -> None:
    await remembered(client, 40)
    await night(work)
    await ledger.applied()
    (change,) = await ledger.changes()
    assert [step.state.value for step in change.steps] == ["proposed", "evaluated", "applied"]
    assert [one.measure for one in change.steps[1].measured] == ["tokens_of_a_memory", "words_kept"]
    verified = await client.bus.request(VERIFY_LEDGER, VerifyLedger())
    assert (verified.entry_broken_at, verified.broken_at) == (None, None)


async def test_the_next_night_digests_only_what_is_new(client: Client, node: Node, work: Work, ledger: Ledger) -> None:
    user_id, first = await remembered(client, 40)
    await night(work)
    await ledger.applied()
    assert (await night(work)).figures["digests"] == 0
    await ledger.kept()
    assert (await night(work)).figures["digests"] == 0
    _, second = await remembered(client, 35, first=40, user_id=user_id)
    assert (await night(work)).figures["digests"] == 35
    await ledger.applied()
    asked = ReadDigests(user_id=user_id, message_ids=(*first, *second))
    assert len((await client.cognition.request(READ_DIGESTS, asked)).digests) == 75


async def test_what_is_rolled_back_leaves_the_former_night_in_force(
    client: Client, node: Node, work: Work, ledger: Ledger
) -> None:
    user_id, first = await remembered(client, 40)
    await night(work)
    await ledger.applied()
    await ledger.kept()
    _, second = await remembered(client, 35, first=40, user_id=user_id)
    await night(work)
    change = await ledger.applied()
    undo = DecideChange(change_id=change.change_id, decision=Decision.ROLL_BACK, actor="root")
    await client.bus.request(DECIDE_CHANGE, undo)
    asked = ReadDigests(user_id=user_id, message_ids=(*first, *second))
    read = await client.cognition.request(READ_DIGESTS, asked)
    assert {one.message_id for one in read.digests} == set(first)


async def test_a_night_that_ran_out_of_time_goes_on_in_the_next(
    client: Client, node: Node, work: Work, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light, "BATCH", 15)
    await remembered(client, 40)
    work.most_jobs = 2
    report = await night(work)
    assert (report.left, report.changes, report.figures["digests"]) == (True, (), 30)
    assert await ledger.changes() == ()
    report = await night(Work(work.bus, work.folder))
    assert (report.left, len(report.changes)) == (False, 1)
    (change,) = await ledger.changes()
    assert change.steps[-1].measured[0].samples == 40, "what the first night measured counts"
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize("refusal", [None, Preempted("somebody asks")])
async def test_without_room_it_waits_for_another_night(
    client: Client, node: Node, work: Work, refusal: Exception | None
) -> None:
    await remembered(client, 40)
    node.room, node.refusal = refusal is not None, refusal
    report = await night(work)
    assert (report.left, report.changes) == (True, ())
    node.room, node.refusal = True, None
    assert len((await night(work)).changes) == 1


async def test_a_generation_that_waits_for_its_decision_is_left_alone(
    client: Client, node: Node, work: Work, ledger: Ledger
) -> None:
    await remembered(client, 40)
    await night(work)
    report = await night(work)
    assert (report.changes, report.figures["digests"]) == ((), 0)
    assert len(await ledger.changes()) == 1


async def test_nothing_that_was_said_lies_in_the_folder(
    client: Client, node: Node, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light, "BATCH", 15)
    await remembered(client, 40)
    work.most_jobs = 1
    await night(work)
    (left,) = work.folder.iterdir()
    assert set(json.loads(left.read_text())) == {"memories", "before", "after", "squares", "words", "kept"}


async def test_too_few_memories_are_kept_for_another_night(client: Client, node: Node, work: Work) -> None:
    await remembered(client, 5)
    report = await night(work)
    assert (report.changes, report.figures["digests"]) == ((), 5)


# ---------------------------------------------------------------- what is told again


async def context(client: Client, user_id: str, ids: list[str]) -> list[str]:
    """Of these memories, as a search within a budget gives it."""
    listed = await client.bus.request(LIST_MEMORIES, ListMemories(user_id=user_id, limit=500))
    hits = [Hit(item) for item in listed.items if item.id in ids]
    told = await read_digests(client.cognition, user_id, hits)
    assert told is not None
    question = Question("Where do I live?", ("live",))
    return [item.text for item in composed(hits, told.digests, question, None, tokens=300, most=99)]


async def told_again(client: Client) -> tuple[str, list[str]]:
    """A user who told the same on two days, beside much else, and the ids of both tellings."""
    user_id, _ = await remembered(client, 40)
    turns = (
        imported("lyon1", "Hey! I live in Lyon by the river."),
        imported("lyon2", "By the way, by the river in Lyon I live.", minute=2 * 24 * 60),
        imported("lyon3", "As I said, I live in Lyon by the river!", minute=9 * 24 * 60),
    )
    return user_id, [item.id for item in (await client.import_turns(user_id, *turns)).items]


async def test_what_was_told_on_two_days_is_told_once_after_a_night(
    client: Client, node: Node, work: Work, ledger: Ledger
) -> None:
    user_id, ids = await told_again(client)
    await night(work)
    await ledger.applied()
    (said,) = await context(client, user_id, [ids[0], ids[2]])
    assert said in (
        "1 March 2026. Zoé: I live in Lyon by the river. (also said on 10 March 2026)",
        "10 March 2026. Zoé: As I said, I live in Lyon by the river! (also said on 1 March 2026)",
    )


async def test_a_forgotten_telling_leaves_no_trace_in_the_other(
    client: Client, persistence: RunningPersistence, node: Node, work: Work, ledger: Ledger
) -> None:
    user_id, ids = await told_again(client)
    await night(work)
    await ledger.applied()
    asked = ReadDigests(user_id=user_id, message_ids=tuple(ids))
    before = {one.message_id: one for one in (await client.cognition.request(READ_DIGESTS, asked)).digests}
    receipt = await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=ids[0]))
    assert receipt.removed.data_keys >= 1
    after = {one.message_id: one for one in (await client.cognition.request(READ_DIGESTS, asked)).digests}
    assert after == {name: digest for name, digest in before.items() if name != ids[0]}
    assert await context(client, user_id, ids[::2]) == [
        "10 March 2026. Zoé: As I said, I live in Lyon by the river!"
    ], "the one that is left tells it, and nothing says that it was told before"


async def test_digests_of_a_release_without_keys_are_read_and_made_anew(
    client: Client, node: Node, work: Work, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, ids = await remembered(client, 40)
    with monkeypatch.context() as patched:
        patched.setattr("services.persistence.handlers.digests.packed", packed_before)
        patched.setattr(light, "RECIPE", "extractive@1")
        await night(work)
    await ledger.applied()
    await ledger.kept()
    asked = ReadDigests(user_id=user_id, message_ids=tuple(ids))
    old = await client.cognition.request(READ_DIGESTS, asked)
    assert [one.keys for one in old.digests] == [b""] * 40
    assert old.digests[0].sentences
    assert (await night(work)).figures["digests"] == 40
    await ledger.applied()
    new = await client.cognition.request(READ_DIGESTS, asked)
    assert [len(one.keys) for one in new.digests] == [8] * 40


def packed_before(digest: Digest) -> bytes:
    """As the release before packed it: a list of sentences."""
    words = json.dumps(digest.sentences, ensure_ascii=False).encode()
    return len(words).to_bytes(4, "little") + words + digest.vectors
