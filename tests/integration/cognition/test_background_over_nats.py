"""Index jobs from the work queue over a real broker: where they run, that they make way, and that a node may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from libs.shared.bus.base import Bus
from libs.shared.bus.consumer import PullConsumer
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.indexing import INDEX_REQUESTED, IndexRequested
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.jobs import FinishJob, JobState
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.telemetry import NODE, Replica
from libs.shared.errors import Unavailable
from services.api.preemption import Preemption
from services.cognition.adapters import OwnedAdapters
from services.cognition.presence import LanguageModel
from services.cognition.service import serve as serve_cognition
from services.cognition.settings import CognitionSettings
from services.cognition.traffic import HOLD_S, Traffic
from services.scheduler import background
from services.scheduler.handlers import Grace, Scheduling
from services.scheduler.registry import Registry, RegistryRules
from services.scheduler.service import serve as serve_scheduler
from tests.support.broker import TestBroker
from tests.support.deliveries import declared, deliveries
from tests.unit.cognition.household import MINILM, Persistence
from tests.unit.cognition.test_indexing import message
from tests.unit.scheduler.clusters import node

LIMIT_S = 60
STOPS_WITHIN_S = 1.0
"""Ten times what a request may have to wait: this machine may be busy with other tests."""
TELLS_EVERY_S = 0.1
TEXT_S = 0.03
"""What a text takes to embed."""
NODES = ("node-a", "node-b")


@dataclass
class Board:
    """A node that embeds, at its own pace, and tells of itself."""

    bus: Bus
    node_id: str
    state: dict[str, Any] = field(default_factory=dict)
    """What its telemetry says beside the ordinary."""
    portions: list[tuple[float, float]] = field(default_factory=list)
    """When each began and ended."""

    async def start(self) -> None:
        await self.bus.serve(EMBED, self.embed, replica=f"{self.node_id}-0")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        began = monotonic()
        await asyncio.sleep(TEXT_S * len(request.texts))
        self.portions.append((began, monotonic()))
        vectors = tuple(b"\x00" * 8 for _ in request.texts)
        return Embeddings(embedder="minilm@1", dimensions=2, vectors=vectors, prompt_tokens=1)

    async def tell(self) -> None:
        """Until cancelled, or dead."""
        replicas = (Replica(replica=f"{self.node_id}-0", models=(MINILM.name,)),)
        for sequence in count(1):
            told = node(self.node_id, replicas=replicas, models=(MINILM,), sequence=sequence, **self.state)
            try:
                await self.bus.broadcast(NODE, told)
            except Unavailable:
                return
            await asyncio.sleep(TELLS_EVERY_S)


@dataclass
class Cluster:
    """Two boards, the real scheduler and cognition, and a small persistence."""

    api: Bus
    persistence: Persistence
    boards: tuple[Board, Board]
    scheduling: Scheduling
    cognition: NatsBus

    async def queue(self, job_id: str, texts: int) -> None:
        """One job of so many texts, on the stream."""
        first = len(self.persistence.unindexed)
        self.persistence.unindexed += [message(first + n) for n in range(texts)]
        ids = tuple(f"m{first + n}" for n in range(texts))
        job = IndexRequested(user_id="u1", message_ids=ids, job_id=job_id)
        await self.persistence.bus.publish(INDEX_REQUESTED, job, message_id=f"event-{job_id}")

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not true():  # noqa: ASYNC110 - what is waited for happens in other processes' place
                await asyncio.sleep(0.01)

    def known(self, node_id: str, **state: object) -> bool:
        """Whether the scheduler has heard so of the node."""
        nodes = self.scheduling.registry.snapshot().nodes
        return node_id in nodes and all(getattr(nodes[node_id], name) == value for name, value in state.items())

    def indexed(self) -> list[str]:
        """What has a vector."""
        return [row.message_id for written in self.persistence.indexed for row in written.rows if row.vector]


@asynccontextmanager
async def clustered(folder: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(TestBroker(folder, nodes=NODES))
        persistence = Persistence(await broker.connect(Principal.PERSISTENCE))
        await persistence.start()
        scheduler = await broker.connect(Principal.SCHEDULER)
        scheduling = Scheduling(
            scheduler, Registry(RegistryRules(), monotonic), Grace(0.0, monotonic), RuntimeSettings, monotonic
        )
        await serve_scheduler(scheduler, scheduling)
        first, second = [Board(await broker.connect(Principal.INFERENCE, name), name) for name in NODES]
        telling = await stack.enter_async_context(asyncio.TaskGroup())
        for board in (first, second):
            await board.start()
            stack.callback(telling.create_task(board.tell()).cancel)
        cognition = await broker.connect(Principal.COGNITION)
        made = Cluster(await broker.connect(Principal.API), persistence, (first, second), scheduling, cognition)
        await made.until(lambda: all(map(made.known, NODES)))
        await serve_cognition(
            cognition, CognitionSettings(), RuntimeSettings, LanguageModel(cognition), OwnedAdapters(cognition)
        )
        yield made
        await cognition.drain(5)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with clustered(tmp_path) as made:
        yield made


async def check_a_job_stops_for_a_request_and_goes_on(cluster: Cluster) -> None:
    portions = [board.portions for board in cluster.boards]
    await cluster.queue("job", 40)
    await cluster.until(lambda: any(len(made) >= 4 for made in portions))
    told_at = monotonic()
    await Preemption(cluster.api).tell("chat")
    await cluster.until(cluster.persistence.finished.is_set)
    made = sorted(portions[0] + portions[1])
    pauses = [
        (ended, began) for (_, ended), (began, _) in pairwise(made) if began > told_at and began - ended >= 0.8 * HOLD_S
    ]
    assert pauses, "it went on"
    assert pauses[0][0] - told_at < STOPS_WITHIN_S
    assert sorted(cluster.indexed()) == sorted(f"m{n}" for n in range(40))
    assert len(cluster.persistence.jobs) == 1


async def test_a_job_stops_for_a_request_and_goes_on(cluster: Cluster) -> None:
    await check_a_job_stops_for_a_request_and_goes_on(cluster)


async def test_a_job_that_does_not_stop_would_be_noticed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Traffic, "busy", False)
    with pytest.raises(AssertionError, match="it went on"):
        await check_a_job_stops_for_a_request_and_goes_on(cluster)


async def test_a_hot_node_is_spared_and_where_all_are_hot_a_job_waits(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "COOL_S", 0.2)
    hot, cool = cluster.boards
    hot.state["temperature_c"] = 88.0
    await cluster.until(lambda: cluster.known("node-a", temperature_c=88.0))
    await cluster.queue("one", 8)
    await cluster.until(lambda: len(cluster.persistence.jobs) == 1)
    assert (bool(hot.portions), bool(cool.portions)) == (False, True)
    cool.state["throttled"] = True
    await cluster.until(lambda: cluster.known("node-b", throttled=True))
    before = len(cool.portions)
    await cluster.queue("two", 8)
    hot.state["temperature_c"] = 60.0
    await cluster.until(lambda: len(cluster.persistence.jobs) == 2)
    assert (bool(hot.portions), len(cool.portions)) == (True, before)


async def test_a_node_that_dies_in_the_middle_leaves_nothing_undone_and_nothing_done_twice(cluster: Cluster) -> None:
    portions = [board.portions for board in cluster.boards]
    await cluster.queue("job", 60)
    await cluster.until(lambda: any(len(made) >= 3 for made in portions))
    dying, other = sorted(cluster.boards, key=lambda board: -len(board.portions))
    await dying.bus.drain(0.0)
    await cluster.until(cluster.persistence.finished.is_set)
    assert other.portions
    assert sorted(cluster.indexed()) == sorted(f"m{n}" for n in range(60))
    assert [job.job_id for job in cluster.persistence.jobs] == ["job"]


LONG_S, SHORT_S = 3.0, 0.3
"""Until the broker delivers again what nobody speaks of: longer than a busy machine keeps a process waiting."""
HELD, CLAIMED, JOBS = 20, 23, 26
"""Handled at a time, which is more than one round; with those that wait in the process; with those in the stream."""


async def hold_a_round(folder: Path, patch: pytest.MonkeyPatch, ack_wait_s: float) -> tuple[int, list[FinishJob]]:
    """No node has room for longer than ``ack_wait_s``, and then both have: deliveries made, and reports of jobs."""
    patch.setattr(background, "COOL_S", 0.2)
    index = INDEX_REQUESTED.consumers[0]
    with declared(index, at_once=HELD, max_ack_pending=CLAIMED, ack_wait_s=ack_wait_s):
        async with clustered(folder) as cluster:
            for board in cluster.boards:
                board.state["throttled"] = True
            await cluster.until(lambda: all(cluster.known(name, throttled=True) for name in NODES))
            for number in range(JOBS):
                await cluster.queue(f"job-{number}", 1)
            worded = cluster.persistence.indexed
            await cluster.until(lambda: {row.message_id for w in worded for row in w.rows} == texts(HELD))
            await asyncio.sleep(1.5 * ack_wait_s)
            vectors_while_held = cluster.indexed()
            for board in cluster.boards:
                board.state["throttled"] = False
            await cluster.until(lambda: set(cluster.indexed()) == texts(JOBS))
            jobs = cluster.persistence.jobs
            await cluster.until(lambda: len({job.job_id for job in jobs}) == JOBS)
            made = await deliveries(cluster.cognition, INDEX_REQUESTED)
    assert vectors_while_held == []
    return made.made, jobs


def texts(count: int) -> set[str]:
    return {f"m{number}" for number in range(count)}


async def test_a_held_round_is_delivered_once_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, jobs = await hold_a_round(tmp_path, monkeypatch, LONG_S)
    assert made == JOBS
    assert sorted(job.job_id for job in jobs) == sorted(f"job-{number}" for number in range(JOBS))
    assert {job.state for job in jobs} == {JobState.DONE}


async def test_a_held_round_that_is_delivered_again_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: PullConsumer[IndexRequested]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(PullConsumer, "_keep_claimed", silent)
    made, _ = await hold_a_round(tmp_path, monkeypatch, SHORT_S)
    assert made > JOBS
