"""Background jobs as operators see them and workers report them."""

from __future__ import annotations

from datetime import datetime

from libs.shared.contracts.jobs import FinishJob, JobFinished, Jobs, ListJobs
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.parts import Parts
from services.persistence.repositories import work


async def list_jobs(request: ListJobs, parts: Parts) -> Jobs:
    """A page of jobs."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    async with parts.database.transaction() as session:
        rows = await work.list_jobs(session, request.state, request.limit, before)
    shown = rows[: request.limit]
    cursor = encode_cursor(shown[-1].queued_at, shown[-1].job_id) if len(rows) > len(shown) else None
    return Jobs(jobs=tuple(map(work.as_job, shown)), next_cursor=cursor)


async def finish_job(request: FinishJob, parts: Parts) -> JobFinished:
    """A worker's report, counted once."""
    async with parts.database.transaction() as session:
        return JobFinished(changed=await work.finish_job(session, request, parts.clock()))
