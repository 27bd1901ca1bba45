"""Training runs as the trainer keeps them and operators read them."""

from __future__ import annotations

from datetime import datetime

from libs.shared.contracts.base import Empty
from libs.shared.contracts.training import ListRuns, ReportRun, RunRef, StartRun, TrainingRun, TrainingRuns
from services.persistence.announcing import announce_run
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.parts import Parts
from services.persistence.repositories import runs


async def keep_run(request: StartRun, parts: Parts) -> TrainingRun:
    """A new run, which the trainer hears of once it is kept."""
    async with parts.database.transaction() as session:
        kept = await runs.add_run(session, parts.new_id(), request, parts.clock())
    parts.outbox.wake()
    await announce_run(parts.bus, kept.run_id)
    return kept


async def report_run(request: ReportRun, parts: Parts) -> TrainingRun:
    """How it goes, or how it ended; a state that is new is told of."""
    async with parts.database.transaction() as session:
        before = (await runs.read_run(session, request.run_id)).state
        kept = await runs.report_run(session, request, parts.clock())
    if kept.state is not before:
        await announce_run(parts.bus, kept.run_id)
    return kept


async def forget_run(request: RunRef, parts: Parts) -> Empty:
    """One that has ended."""
    async with parts.database.transaction() as session:
        await runs.forget_run(session, request.run_id)
    return Empty()


async def read_run(request: RunRef, parts: Parts) -> TrainingRun:
    """One run."""
    async with parts.database.transaction() as session:
        return await runs.read_run(session, request.run_id)


async def list_runs(request: ListRuns, parts: Parts) -> TrainingRuns:
    """A page of runs."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    async with parts.database.transaction() as session:
        rows = await runs.list_runs(session, request.state, request.limit, before)
    shown = rows[: request.limit]
    cursor = encode_cursor(shown[-1].created_at, shown[-1].run_id) if len(rows) > len(shown) else None
    return TrainingRuns(runs=tuple(map(runs.as_run, shown)), next_cursor=cursor)
