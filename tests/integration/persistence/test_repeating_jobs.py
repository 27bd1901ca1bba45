"""Index jobs that failed, or were lost: offered again until the messages have their vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from libs.shared.bus.base import Delivery
from libs.shared.contracts.indexing import (
    INDEX_MESSAGES,
    INDEX_REQUESTED,
    READ_UNINDEXED,
    IndexMessages,
    IndexRequested,
    IndexRow,
    ReadUnindexed,
)
from libs.shared.contracts.jobs import FINISH_JOB, FinishJob, JobState
from libs.shared.contracts.keeping import REWRITE_MEMORY, RewriteMemory
from libs.shared.contracts.memory import FORGET_MEMORY, MemoryRef
from services.persistence import housekeeping, taking
from services.persistence.handlers import rewriting
from services.persistence.parts import Parts
from services.persistence.repositories import work
from services.persistence.tables import JobRow
from tests.support.persistence import Client, RunningPersistence

REST_S = 300.0
LIMIT_S = 5


class Worker:
    """Hears what is to be indexed, and reports as the test wants."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._heard: asyncio.Queue[Delivery[IndexRequested]] = asyncio.Queue()

    async def listen(self) -> None:
        await self._client.cognition.consume(INDEX_REQUESTED, INDEX_REQUESTED.consumers[0], self._heard.put)

    async def heard(self) -> Delivery[IndexRequested]:
        async with asyncio.timeout(LIMIT_S):
            return await self._heard.get()

    async def fail(self, job_id: str) -> None:
        report = FinishJob(job_id=job_id, state=JobState.FAILED, error="no_model")
        await self._client.cognition.request(FINISH_JOB, report)

    async def index(self, request: IndexRequested) -> None:
        assert request.job_id is not None
        rows = tuple(IndexRow(message_id=m, terms={"cat": 1}, vector=b"\0\0\x80?") for m in request.message_ids)
        done = IndexMessages(user_id=request.user_id, embedder="test@1", rows=rows, done_jobs=(request.job_id,))
        await self._client.cognition.request(INDEX_MESSAGES, done)


async def later(parts: Parts, seconds: float) -> int:
    """A round of repeating, so long from now."""
    at = parts.clock() + timedelta(seconds=seconds)
    return await housekeeping.repeat_index_jobs(replace(parts, clock=lambda: at), REST_S)


async def check_a_failed_job_is_offered_until_it_is_done(client: Client, persistence: RunningPersistence) -> None:
    worker, parts = Worker(client), persistence.parts
    await worker.listen()
    turn, _ = await client.say(await client.user(), "c1", "a cat")
    first = await worker.heard()
    job_id = first.message.job_id
    assert job_id is not None
    await worker.fail(job_id)
    assert await later(parts, REST_S - 1) == 0, "it rests"
    assert await later(parts, REST_S + 1) == 1
    again = await worker.heard()
    assert again.message_id != first.message_id, "another event, or the stream would take it for the first"
    assert again.message == first.message
    assert again.message.message_ids == (turn.messages[0].message_id,)
    await worker.index(again.message)
    assert await later(parts, 10 * REST_S) == 0
    (job,) = await jobs(persistence)
    assert (job.job_id, job.state, job.attempts) == (job_id, "done", 2)


async def jobs(persistence: RunningPersistence) -> Sequence[JobRow]:
    async with persistence.parts.database.transaction() as session:
        return (await session.scalars(select(JobRow))).all()


async def test_a_failed_job_is_offered_again_until_it_is_done(client: Client, persistence: RunningPersistence) -> None:
    await check_a_failed_job_is_offered_until_it_is_done(client, persistence)


async def test_leaving_failed_jobs_would_be_noticed(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: Any) -> int:
        return 0

    monkeypatch.setattr(work, "repeat_jobs", none)
    with pytest.raises(AssertionError):
        await check_a_failed_job_is_offered_until_it_is_done(client, persistence)


async def test_a_job_that_nobody_reports_on_is_offered_again(client: Client, persistence: RunningPersistence) -> None:
    worker = Worker(client)
    await worker.listen()
    await client.say(await client.user(), "c1", "a cat")
    first = await worker.heard()
    assert await later(persistence.parts, REST_S + 1) == 1
    assert (await worker.heard()).message == first.message


async def test_one_job_finds_out_whether_anything_embeds_and_then_all_follow(
    client: Client, persistence: RunningPersistence
) -> None:
    worker, parts, user_id = Worker(client), persistence.parts, await client.user()
    await worker.listen()
    for n in range(4):
        await client.say(user_id, f"c{n}", "a cat")
        await worker.fail((await worker.heard()).message.job_id or "")
    assert await later(parts, REST_S + 1) == 1
    await worker.index((await worker.heard()).message)
    assert await later(parts, REST_S - 1) == 0
    parts.indexing.last_vectors_at = parts.clock() + timedelta(seconds=REST_S)
    assert await later(parts, REST_S + 1) == 3


async def test_a_job_that_fails_again_and_again_rests_longer(client: Client, persistence: RunningPersistence) -> None:
    worker, parts = Worker(client), persistence.parts
    await worker.listen()
    await client.say(await client.user(), "c1", "a cat")
    waited = 0.0
    for rest in (REST_S, REST_S, 2 * REST_S, 4 * REST_S):
        job_id = (await worker.heard()).message.job_id or ""
        if waited:
            await worker.fail(job_id)
        assert await later(parts, waited + rest - 1) == 0
        waited += rest + 1
        assert await later(parts, waited) == 1


async def test_failed_index_jobs_outlive_the_finished_ones(client: Client, persistence: RunningPersistence) -> None:
    worker, user_id = Worker(client), await client.user()
    await worker.listen()
    for n in range(2):
        await client.say(user_id, f"c{n}", "a cat")
    done, failed = (await worker.heard()).message, (await worker.heard()).message
    await worker.index(done)
    await worker.fail(failed.job_id or "")
    await housekeeping.prune(persistence.parts, job_retention_s=-10)
    assert [job.job_id for job in await jobs(persistence)] == [failed.job_id]


# ---------------------------------------------------------------- sealed anew on the way


async def forget(client: Client, user_id: str, message_id: str) -> None:
    await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=message_id))


async def edit(client: Client, user_id: str, message_id: str) -> None:
    """As cognition does it: the job that comes with the edited text ends with that."""
    request = RewriteMemory(user_id=user_id, id=message_id, text="a dog")
    kept = await client.cognition.request(REWRITE_MEMORY, request)
    row = IndexRow(message_id=message_id, terms={"dog": 1})
    done = IndexMessages(user_id=user_id, embedder=None, rows=(row,), done_jobs=kept.job_ids)
    await client.cognition.request(INDEX_MESSAGES, done)


Change = Callable[[Client, str, str], Awaitable[None]]


async def check_what_was_said_with_it_is_indexed(
    change: Change, client: Client, persistence: RunningPersistence
) -> None:
    """It was read before the change, and is written in an earlier batch than the one that ends the job."""
    worker, user_id = Worker(client), await client.user()
    await worker.listen()
    turn, _ = await client.say(user_id, "c1", "a cat", "a mouse")
    question, answer = (message.message_id for message in turn.messages)
    first = (await worker.heard()).message
    asked = ReadUnindexed(user_id=user_id, message_ids=(answer,))
    (read,) = (await client.cognition.request(READ_UNINDEXED, asked)).messages
    await change(client, user_id, question)

    row = IndexRow(message_id=answer, terms={"mouse": 1}, vector=b"\0\0\x80?", version=read.version)
    late = IndexMessages(user_id=user_id, embedder="test@1", rows=(row,))
    assert (await client.cognition.request(INDEX_MESSAGES, late)).count == 0
    ended = IndexMessages(user_id=user_id, embedder=None, rows=(), done_jobs=(first.job_id or "",))
    await client.cognition.request(INDEX_MESSAGES, ended)

    assert [job.payload["message_ids"] for job in await jobs(persistence) if job.state != "done"] == [[answer]]
    again = (await worker.heard()).message
    assert again.message_ids == (answer,)
    await worker.index(again)
    assert (await client.cognition.request(READ_UNINDEXED, asked)).messages == ()
    assert {job.state for job in await jobs(persistence)} == {"done"}


@pytest.mark.parametrize("change", [forget, edit])
async def test_what_was_said_with_something_that_is_changed_is_indexed_although_it_was_read_before(
    change: Change, client: Client, persistence: RunningPersistence
) -> None:
    await check_what_was_said_with_it_is_indexed(change, client, persistence)


@pytest.mark.parametrize(("change", "where"), [(forget, taking), (edit, rewriting)])
async def test_not_asking_again_would_be_noticed(
    change: Change,
    where: ModuleType,
    client: Client,
    persistence: RunningPersistence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no(*_: Any) -> bool:
        return False

    monkeypatch.setattr(where, "ask_again", no)
    with pytest.raises(AssertionError):
        await check_what_was_said_with_it_is_indexed(change, client, persistence)


@pytest.mark.parametrize("change", [forget, edit])
async def test_what_is_not_on_its_way_is_not_asked_for_again(
    change: Change, client: Client, persistence: RunningPersistence
) -> None:
    worker, user_id = Worker(client), await client.user()
    await worker.listen()
    turn, _ = await client.say(user_id, "c1", "a cat", "a mouse")
    await worker.index((await worker.heard()).message)
    await change(client, user_id, turn.messages[0].message_id)
    assert [job.state for job in await jobs(persistence) if job.state != "done"] == []
