"""Tuning what hangs on how the installation is used, and on nothing that anybody said: by counts that services keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.caching import READ_INDEX_CACHE
from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings
from libs.shared.contracts.replaying_placements import REPLAY_PLACEMENTS, ReplayPlacements
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.optimizer.phases.base import Job, JobFailed, PhaseReport, PhaseWork
from services.optimizer.tuning.exchange import CacheJob, PlacementJob, Tuned
from services.optimizer.tuning.proposing import proposed
from services.optimizer.tuning.warm import MOST_SHARED, kept_in
from services.optimizer.tuning.ways import ways

log = get_logger(__name__)


async def by_use(work: PhaseWork) -> PhaseReport:
    """All of it; what fails says so, and keeps nothing else back."""
    reports = [await _or_why_not(work, name, tune) for name, tune in TUNED.items()]
    return PhaseReport(
        "; ".join(one.done for one in reports),
        tuple(change for one in reports for change in one.changes),
        tuple(tried for one in reports for tried in one.tried),
    )


async def _or_why_not(work: PhaseWork, name: str, tune: Callable[[PhaseWork], Awaitable[PhaseReport]]) -> PhaseReport:
    try:
        return await tune(work)
    except (ServiceError, JobFailed, TimeoutError) as error:
        log.info("not_tuned", what=name, error=type(error).__name__)
        return PhaseReport(f"{name}: not tuned ({type(error).__name__})")


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


async def tune_placement(work: PhaseWork) -> PhaseReport:
    """Where requests run. Raises ServiceError, JobFailed."""
    await work.clear()
    settings = (await work.bus.request(READ_SETTINGS, ReadSettings())).settings
    tried = ways(settings, [one.value for one in kept_in(work.others, "placement_others")[:MOST_SHARED]])
    await work.clear()
    try:
        replayed = await work.bus.request(REPLAY_PLACEMENTS, ReplayPlacements(ways=tried))
    except (ServiceError, TimeoutError) as error:
        log.info("placements_untold", code=getattr(error, "code", "timed_out"))
        return PhaseReport("placement: the scheduler doesn't replay what it placed")
    if not replayed.ways:
        return PhaseReport(f"placement: {replayed.reason}")
    job = PlacementJob(replayed=replayed, ways=tried)
    body = job.model_dump_json().encode()
    return await tuned_by(work, Job("tune_placement", body), "measured on later requests than it was chosen by")


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


TUNED = {"index_memory_mib": tune_cache, "placement": tune_placement}
