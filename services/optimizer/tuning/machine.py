"""Tuning what hangs on how the installation is used, and on nothing that anybody said: by counts that services keep."""

from __future__ import annotations

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.caching import READ_INDEX_CACHE
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.optimizer.phases.base import Job, PhaseReport, PhaseWork
from services.optimizer.tuning.exchange import CacheJob, Tuned
from services.optimizer.tuning.proposing import proposed

log = get_logger(__name__)


async def tune_cache(work: PhaseWork) -> PhaseReport:
    """How much memory users' indexes may take. Raises ServiceError, JobFailed."""
    job = await _cache_job(work)
    if job is None:
        return PhaseReport("index_memory_mib: persistence doesn't tell of its cache")
    if job.too_few:
        return PhaseReport("index_memory_mib: too little was asked to tell")
    return await tuned_by(
        work, Job("tune_cache", job.model_dump_json().encode()), "measured on later hours than it was chosen by"
    )


async def _cache_job(work: PhaseWork) -> CacheJob | None:
    bus: Bus = work.bus
    await work.clear()
    try:
        return CacheJob(curve=await bus.request(READ_INDEX_CACHE, Empty()))
    except ServiceError as error:
        log.info("cache_untold", code=error.code)
        return None


async def tuned_by(work: PhaseWork, job: Job, measured: str) -> PhaseReport:
    """What the job comes to, proposed where it is worth it."""
    told = Tuned.model_validate_json(await work.compute(job))
    if told.proposal is None:
        return PhaseReport(told.reason)
    tried = await proposed(work, told.proposal, measured)
    changes = (tried.change_id,) if tried.change_id is not None else ()
    return PhaseReport(told.reason, changes, (tried,))
