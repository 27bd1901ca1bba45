"""Training runs as they are kept: with a job and an event each, and no report changes what has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from libs.shared.bus.base import Bus, Delivery
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.jobs import LIST_JOBS, JobState, ListJobs
from libs.shared.contracts.training import (
    FORGET_RUN,
    KEEP_RUN,
    LIST_RUNS,
    READ_RUN,
    REPORT_RUN,
    RUN_CHANGED,
    TRAINING_REQUESTED,
    ListRuns,
    MntpOptions,
    ReportRun,
    RunProgress,
    RunRef,
    RunState,
    StartRun,
    TrainingRequested,
    TrainingRun,
)
from libs.shared.errors import RunLost, RunNotFound, RunUnderWay
from services.persistence.repositories import runs
from services.persistence.restoring import RUN_LOST
from tests.support.persistence import Client, RunningPersistence

LIMIT_S = 10
ASKED = StartRun(model="llama", text="diary.txt", seed=7, options=MntpOptions(steps=12, learning_rate=1e-3))


@pytest_asyncio.fixture
async def trainer(persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.TRAINER)
    yield bus
    await bus.drain(1)


async def report(trainer: Bus, run_id: str, state: RunState, **about: object) -> TrainingRun:
    return await trainer.request(REPORT_RUN, ReportRun.model_validate({"run_id": run_id, "state": state} | about))


async def job_of(client: Client, run_id: str) -> tuple[str, JobState, str | None]:
    jobs = (await client.bus.request(LIST_JOBS, ListJobs())).jobs
    return next((job.kind, job.state, job.error) for job in jobs if job.job_id == run_id)


async def test_a_run_is_kept_with_its_job_and_told_of(trainer: Bus, client: Client) -> None:
    heard: asyncio.Queue[Delivery[TrainingRequested]] = asyncio.Queue()
    await trainer.consume(TRAINING_REQUESTED, TRAINING_REQUESTED.consumers[0], heard.put)
    run = await trainer.request(KEEP_RUN, ASKED)
    assert (run.state, run.model, run.text, run.seed, run.options) == (
        RunState.QUEUED,
        "llama",
        "diary.txt",
        7,
        ASKED.options,
    )
    async with asyncio.timeout(LIMIT_S):
        assert (await heard.get()).message.run_id == run.run_id
    assert await job_of(client, run.run_id) == ("training_requested", JobState.QUEUED, None)
    assert await client.bus.request(READ_RUN, RunRef(run_id=run.run_id)) == run


async def test_where_it_stands_is_kept_and_its_job_ends_with_it(trainer: Bus, client: Client) -> None:
    run = await trainer.request(KEEP_RUN, ASKED)
    progress = RunProgress(phase="mntp", step=3, steps=12, loss=2.5, held_by=("busy",))
    told = await report(trainer, run.run_id, RunState.RUNNING, progress=progress)
    assert (told.state, told.progress) == (RunState.RUNNING, progress)
    assert told.started_at is not None
    figures = {"mntp_loss_last": 1.5}
    done = await report(trainer, run.run_id, RunState.DONE, metrics=figures, artefact="encoder")
    assert (done.metrics, done.artefact, done.progress) == (figures, "encoder", progress)
    assert done.started_at == told.started_at
    assert done.finished_at is not None
    assert await job_of(client, run.run_id) == ("training_requested", JobState.DONE, None)


@pytest.mark.parametrize("first", [RunState.DONE, RunState.FAILED, RunState.CANCELLED])
async def test_what_has_ended_stays_as_it_ended(trainer: Bus, client: Client, first: RunState) -> None:
    run = await trainer.request(KEEP_RUN, ASKED)
    ended = await report(trainer, run.run_id, first, error="training_diverged" if first is RunState.FAILED else None)
    for state in RunState:
        assert await report(trainer, run.run_id, state, error="internal") == ended
    expected = JobState.FAILED if first is RunState.FAILED else JobState.DONE
    assert await job_of(client, run.run_id) == ("training_requested", expected, ended.error)


async def test_runs_are_listed_newest_first_in_pages_and_by_state(trainer: Bus, client: Client) -> None:
    ids = [(await trainer.request(KEEP_RUN, ASKED)).run_id for _ in range(3)]
    await report(trainer, ids[0], RunState.DONE)
    first = await client.bus.request(LIST_RUNS, ListRuns(limit=2))
    rest = await client.bus.request(LIST_RUNS, ListRuns(limit=2, cursor=first.next_cursor))
    assert [run.run_id for run in (*first.runs, *rest.runs)] == ids[::-1]
    assert rest.next_cursor is None
    done = await client.bus.request(LIST_RUNS, ListRuns(state=RunState.DONE))
    assert [run.run_id for run in done.runs] == ids[:1]


async def test_an_unknown_run_is_refused_by_name(trainer: Bus) -> None:
    with pytest.raises(RunNotFound):
        await trainer.request(READ_RUN, RunRef(run_id="none"))
    with pytest.raises(RunNotFound):
        await report(trainer, "none", RunState.DONE)


async def test_a_new_state_is_announced_and_where_it_stands_is_not(broker: MemoryBroker, trainer: Bus) -> None:
    heard: asyncio.Queue[RunRef] = asyncio.Queue()
    api = await broker.connect(Principal.API)
    await api.subscribe(RUN_CHANGED, heard.put)
    run = await trainer.request(KEEP_RUN, ASKED)
    await report(trainer, run.run_id, RunState.RUNNING)
    await report(trainer, run.run_id, RunState.RUNNING, progress=RunProgress(phase="mntp", step=3, steps=12))
    await report(trainer, run.run_id, RunState.DONE)
    await report(trainer, run.run_id, RunState.FAILED)
    after = await trainer.request(KEEP_RUN, ASKED)
    async with asyncio.timeout(LIMIT_S):
        told = [(await heard.get()).run_id for _ in range(4)]
    assert told == [run.run_id] * 3 + [after.run_id], "queued, running, done; and the next"
    await api.drain(1)


async def test_a_run_is_forgotten_once_it_has_ended(trainer: Bus) -> None:
    run = await trainer.request(KEEP_RUN, ASKED)
    with pytest.raises(RunUnderWay):
        await trainer.request(FORGET_RUN, RunRef(run_id=run.run_id))
    await report(trainer, run.run_id, RunState.CANCELLED)
    await trainer.request(FORGET_RUN, RunRef(run_id=run.run_id))
    with pytest.raises(RunNotFound):
        await trainer.request(READ_RUN, RunRef(run_id=run.run_id))
    with pytest.raises(RunNotFound):
        await trainer.request(FORGET_RUN, RunRef(run_id=run.run_id))


async def test_runs_that_had_not_ended_when_their_backup_was_made_have_failed(
    persistence: RunningPersistence, trainer: Bus, client: Client
) -> None:
    queued, running, done = [await trainer.request(KEEP_RUN, ASKED) for _ in range(3)]
    await report(trainer, running.run_id, RunState.RUNNING, progress=RunProgress(phase="mntp", step=3, steps=12))
    await report(trainer, done.run_id, RunState.DONE)
    async with persistence.parts.database.transaction() as session:
        assert await runs.end_unfinished(session, RunLost(RUN_LOST), persistence.parts.clock()) == 2
    for run in (queued, running):
        found = await trainer.request(READ_RUN, RunRef(run_id=run.run_id))
        assert (found.state, found.error, found.detail) == (RunState.FAILED, "run_lost", RUN_LOST)
        assert (await job_of(client, run.run_id))[1:] == (JobState.FAILED, "run_lost")
    assert (await trainer.request(READ_RUN, RunRef(run_id=done.run_id))).state is RunState.DONE
