"""A second embedder: asked for in portions, searched by once it has everything, and the first one's vectors gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from libs.shared.bus.base import Delivery
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.indexing import (
    INDEX_MESSAGES,
    INDEX_REQUESTED,
    READ_UNINDEXED,
    IndexMessages,
    IndexRequested,
    IndexRow,
    ReadUnindexed,
)
from libs.shared.contracts.ledger import PROPOSE_CHANGE, ProposeChange
from libs.shared.contracts.memory import MEMORY_CHANGED, MemoryChanged
from services.persistence import takeover
from tests.integration.persistence.test_finding_memories import (
    EMBEDDER,
    TEXTS,
    evidence,
    index,
    keep,
    keep_and_index,
    profile,
    row,
    segments_of,
    vector,
)
from tests.support.persistence import Client, RunningPersistence

NEWER = "other@2"


def other_direction(text: str) -> bytes:
    """Of three dimensions, so that the two can't be confused."""
    return vector(*(np.array([text.count(letter) + 0.5 for letter in "aec"], dtype="<f4")))


@pytest_asyncio.fixture
async def asked(client: Client) -> AsyncIterator[asyncio.Queue[IndexRequested]]:
    """What is asked to be indexed, as cognition sees it."""
    queue: asyncio.Queue[IndexRequested] = asyncio.Queue()

    async def take(delivery: Delivery[IndexRequested]) -> None:
        queue.put_nowait(delivery.message)

    await client.cognition.consume(INDEX_REQUESTED, INDEX_REQUESTED.consumers[0], take)
    yield queue


async def re_embedding(asked: asyncio.Queue[IndexRequested]) -> IndexRequested:
    async with asyncio.timeout(5):
        while (request := await asked.get()).embedder is None:
            pass
    return request


async def embed(client: Client, request: IndexRequested) -> int:
    """As cognition does it: vectors alone."""
    read = ReadUnindexed(user_id=request.user_id, message_ids=request.message_ids, embedder=request.embedder)
    found = await client.cognition.request(READ_UNINDEXED, read)
    assert found.embedder == request.embedder
    assert request.job_id is not None
    rows = tuple(IndexRow(message_id=m.message_id, vector=other_direction(m.text)) for m in found.messages)
    made = IndexMessages(user_id=request.user_id, embedder=request.embedder, rows=rows, done_jobs=(request.job_id,))
    return (await client.cognition.request(INDEX_MESSAGES, made)).count


async def set_embedder(client: Client, embedder: str) -> None:
    change = ProposeChange(key="embedder", value=embedder, actor="admin", apply=True)
    await client.bus.request(PROPOSE_CHANGE, change)


async def test_searches_use_the_old_one_until_the_new_one_has_everything(
    client: Client,
    persistence: RunningPersistence,
    asked: asyncio.Queue[IndexRequested],
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(takeover, "_JOBS_AT_ONCE", 2)
    monkeypatch.setattr(takeover, "MEMORIES_A_JOB", 2)
    user_id = await client.user()
    known = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    changed: asyncio.Queue[MemoryChanged] = asyncio.Queue()

    async def hear(message: MemoryChanged) -> None:
        changed.put_nowait(message)

    await (await broker.connect(Principal.COGNITION)).subscribe(MEMORY_CHANGED, hear)
    await set_embedder(client, NEWER)
    assert await takeover.run_round(persistence.parts) == 1
    done = 0
    while done < len(TEXTS):
        assert (await profile(client, user_id)).embedder == EMBEDDER
        found = await evidence(client, user_id, vector=vector(*[1.0] * 8), embedder=EMBEDDER)
        assert {one.cosine is None for one in found.values()} == {False}
        done += await embed(client, await re_embedding(asked))
    assert (await profile(client, user_id)).embedder == NEWER
    found = await evidence(client, user_id, vector=other_direction("aec"), embedder=NEWER)
    assert set(found) == set(known.values())
    assert None not in {one.cosine for one in found.values()}
    assert {embedder for _, embedder, _, _ in await segments_of(persistence, user_id)} == {"", NEWER}
    async with asyncio.timeout(5):
        while (await changed.get()).user_id != user_id:
            pass
    assert await takeover.run_round(persistence.parts) == 0
    assert asked.empty()


async def test_keys_of_the_old_vectors_are_destroyed(
    client: Client, persistence: RunningPersistence, asked: asyncio.Queue[IndexRequested]
) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    (old,) = [slot for _, embedder, _, slot in await segments_of(persistence, user_id) if embedder == EMBEDDER]
    await set_embedder(client, NEWER)
    await takeover.run_round(persistence.parts)
    await embed(client, await re_embedding(asked))
    assert old not in persistence.parts.keys.slots.used
    await persistence.stop()
    await persistence.start()
    assert (await profile(client, user_id)).embedder == NEWER


async def test_what_is_said_meanwhile_is_taken_over_too(
    client: Client, persistence: RunningPersistence, asked: asyncio.Queue[IndexRequested]
) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    await set_embedder(client, NEWER)
    await takeover.run_round(persistence.parts)
    first = await re_embedding(asked)
    ids = await keep(client, persistence, user_id, "c2", "said meanwhile")
    await index(client, user_id, row(ids["said meanwhile"], "said meanwhile"))
    await embed(client, first)
    assert (await profile(client, user_id)).embedder == EMBEDDER
    second = await re_embedding(asked)
    assert second.message_ids == tuple(ids.values())
    await embed(client, second)
    assert (await profile(client, user_id)).embedder == NEWER


async def test_without_a_setting_each_memory_keeps_its_embedder(
    client: Client, persistence: RunningPersistence, asked: asyncio.Queue[IndexRequested]
) -> None:
    user_id, other = await client.user(), await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    ids = await keep(client, persistence, other, "c2", "a cat")
    made = IndexRow(message_id=ids["a cat"], terms={"cat": 1}, vector=other_direction("a cat"))
    await index(client, other, made, embedder=NEWER)
    assert await takeover.run_round(persistence.parts) == 0
    assert (await profile(client, user_id)).embedder == EMBEDDER
    assert (await profile(client, other)).embedder == NEWER


async def test_an_embedder_that_is_not_served_any_more_is_replaced(
    client: Client, persistence: RunningPersistence, asked: asyncio.Queue[IndexRequested]
) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    ids = await keep(client, persistence, user_id, "c1", "a new one")
    made = IndexRow(message_id=ids["a new one"], terms={"new": 1}, vector=other_direction("a new one"))
    await index(client, user_id, made, embedder=NEWER)
    assert (await profile(client, user_id)).embedder == EMBEDDER
    assert await embed(client, await re_embedding(asked)) == len(TEXTS)
    assert (await profile(client, user_id)).embedder == NEWER
