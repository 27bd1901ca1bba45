"""The rows of training runs, and the job of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import insert, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.base import Message
from libs.shared.contracts.jobs import FinishJob, JobState
from libs.shared.contracts.training import (
    ReportRun,
    RunKind,
    RunProgress,
    RunState,
    StartRun,
    TrainingRequested,
    TrainingRun,
)
from libs.shared.errors import RunNotFound, RunUnderWay, ServiceError
from services.persistence.repositories import work
from services.persistence.tables import JobRow, TrainingRunRow

TRAINING_KIND = "training_requested"
_DETAIL_LENGTH = 500
M = TypeVar("M", bound=Message)


def as_run(row: TrainingRunRow) -> TrainingRun:
    """The run as its contract has it."""
    asked = _parsed(StartRun, row.request)
    return TrainingRun(
        run_id=row.run_id,
        kind=asked.kind,
        state=RunState(row.state),
        model=asked.model or "",
        text=asked.text,
        sts=asked.sts,
        seed=asked.seed,
        options=asked.options,
        adapter=asked.adapter,
        evaluate=asked.evaluate,
        own=asked.own,
        progress=_parsed(RunProgress, row.progress) if row.progress else None,
        error=row.error,
        detail=row.detail,
        metrics={name: float(value) for name, value in row.metrics.items()},
        artefact=row.artefact,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _parsed(kind: type[M], value: Any) -> M:
    """JSON as the database gives it back, read as strictly as on the wire."""
    return kind.model_validate_json(json.dumps(value))


async def add_run(session: AsyncSession, run_id: str, asked: StartRun, now: datetime) -> TrainingRun:
    """The run with its job and its event, to be published after the commit."""
    event = TrainingRequested(run_id=run_id).model_dump(mode="json")
    row = TrainingRunRow(
        run_id=run_id,
        kind=asked.kind.value,
        state=RunState.QUEUED.value,
        request=asked.model_dump(mode="json"),
        progress=None,
        metrics={},
        created_at=now,
    )
    session.add(row)
    await session.execute(
        insert(JobRow).values(
            job_id=run_id,
            kind=TRAINING_KIND,
            state=JobState.QUEUED.value,
            attempts=0,
            payload=event,
            queued_at=now,
            offered_at=now,
        )
    )
    await work.add_event(session, run_id, TRAINING_KIND, event)
    return as_run(row)


async def read_run(session: AsyncSession, run_id: str) -> TrainingRun:
    """Raises RunNotFound."""
    return as_run(await _row(session, run_id))


async def last_measured(session: AsyncSession, encoder_of: str) -> TrainingRun | None:
    """The latest evaluation that came to its end, of the encoder of that run."""
    statement = (
        select(TrainingRunRow)
        .where(TrainingRunRow.kind == RunKind.EVALUATE.value, TrainingRunRow.state == RunState.DONE.value)
        .where(TrainingRunRow.request["evaluate"]["run"].astext == encoder_of)
        .order_by(TrainingRunRow.created_at.desc())
        .limit(1)
    )
    row = (await session.scalars(statement)).first()
    return as_run(row) if row is not None else None


async def list_runs(
    session: AsyncSession, state: RunState | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[TrainingRunRow]:
    """Newest first, one more than ``limit`` where there are more."""
    key = (TrainingRunRow.created_at, TrainingRunRow.run_id)
    statement = select(TrainingRunRow).order_by(*(column.desc() for column in key)).limit(limit + 1)
    if state is not None:
        statement = statement.where(TrainingRunRow.state == state.value)
    if before is not None:
        statement = statement.where(tuple_(*key) < tuple_(*map(literal, before)))
    return (await session.scalars(statement)).all()


async def report_run(session: AsyncSession, report: ReportRun, now: datetime) -> TrainingRun:
    """The run after the report; its job ends with it. What has ended stays as it ended. Raises RunNotFound."""
    row = await _row(session, report.run_id, locked=True)
    if RunState(row.state).ended:
        return as_run(row)
    row.state = report.state.value
    row.progress = report.progress.model_dump(mode="json") if report.progress else row.progress
    if report.state is RunState.RUNNING:
        row.started_at = row.started_at or now
    if report.state.ended:
        row.error, row.detail = report.error, report.detail[:_DETAIL_LENGTH] if report.detail else None
        row.metrics, row.artefact = report.metrics, report.artefact
        row.finished_at = now
        await work.finish_job(session, _job_report(report), now)
    return as_run(row)


async def end_unfinished(session: AsyncSession, why: ServiceError, now: datetime) -> int:
    """Every run that is queued or goes on has failed; how many there were."""
    states = [state.value for state in RunState if not state.ended]
    rows = (await session.scalars(select(TrainingRunRow).where(TrainingRunRow.state.in_(states)))).all()
    for row in rows:
        failed = ReportRun(run_id=row.run_id, state=RunState.FAILED, error=why.code, detail=why.detail)
        await report_run(session, failed, now)
    return len(rows)


async def forget_run(session: AsyncSession, run_id: str) -> None:
    """Raises RunNotFound, RunUnderWay."""
    row = await _row(session, run_id, locked=True)
    if not RunState(row.state).ended:
        raise RunUnderWay("the run hasn't ended: cancel it first")
    await session.delete(row)


def _job_report(report: ReportRun) -> FinishJob:
    """One that was cancelled has done what was wanted of it."""
    state = JobState.FAILED if report.state is RunState.FAILED else JobState.DONE
    return FinishJob(job_id=report.run_id, state=state, error=report.error)


async def _row(session: AsyncSession, run_id: str, *, locked: bool = False) -> TrainingRunRow:
    found = await session.get(TrainingRunRow, run_id, with_for_update=locked)
    if found is None:
        raise RunNotFound("there is no such training run")
    return found
