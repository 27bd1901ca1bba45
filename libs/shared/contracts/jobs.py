"""Background jobs in their smallest durable form: persistence keeps them, operators see them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from libs.shared.contracts.base import MIB, JetStream, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Page

JOBS = JetStream(name="JOBS", work_queue=True, max_bytes=256 * MIB)


class JobState(StrEnum):
    """A job is queued until a worker reports it done or failed."""

    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


class Job(Message):
    """A background job as persistence knows it. Its payload is ids, never text."""

    job_id: Id
    kind: str
    state: JobState
    attempts: int
    error: str | None
    queued_at: datetime
    finished_at: datetime | None


class Jobs(Message):
    """Newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None = None


class ListJobs(Page):
    """Jobs, optionally in one state."""

    state: JobState | None = None


class FinishJob(Message):
    """A worker's report. ``job_id`` is the message id of the event that carried the job."""

    job_id: Id
    state: JobState
    error: str | None = None


class JobFinished(Message):
    """Whether the report changed anything; a second report of a finished job does not."""

    changed: bool


LIST_JOBS = Rpc(
    "mongars.v1.persistence.list_jobs",
    ListJobs,
    Jobs,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.CLI}),
)
FINISH_JOB = Rpc(
    "mongars.v1.persistence.finish_job",
    FinishJob,
    JobFinished,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
)
