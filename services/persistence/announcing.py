"""Telling the other services that a user's memory, an adapter's standing, a run or the ledger changed."""

from __future__ import annotations

from collections.abc import Iterable

from libs.shared.bus import Bus
from libs.shared.contracts.ledger import LEDGER_CHANGED, Change, ChangeRecorded
from libs.shared.contracts.material import STANDING_CHANGED, StandingChanged
from libs.shared.contracts.memory import MEMORY_CHANGED, MemoryChanged
from libs.shared.contracts.training import RUN_CHANGED, RunRef
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

log = get_logger(__name__)


async def announce_memory_changed(bus: Bus, user_id: str) -> None:
    """Lossy by nature: what listeners cache also expires."""
    try:
        await bus.broadcast(MEMORY_CHANGED, MemoryChanged(user_id=user_id))
    except ServiceError as error:
        log.warning("memory_change_not_announced", reason=error.code)


async def announce_change(bus: Bus, change: Change) -> None:
    """Lossy too: whoever drives changes or shows them also looks now and then."""
    at = (change.decided or change.proposed).at
    told = ChangeRecorded(
        change_id=change.change_id, sequence=change.sequence, state=change.state, hash=change.hash, at=at
    )
    try:
        await bus.broadcast(LEDGER_CHANGED, told)
    except ServiceError as error:
        log.debug("change_not_announced", reason=error.code)


async def announce_standing(bus: Bus, adapters: Iterable[str]) -> None:
    """Lossy too: who puts an adapter to use asks for its standing before, and now and then."""
    named = tuple(sorted(adapters))
    if not named:
        return
    log.info("adapters_stand_otherwise", adapters=len(named))
    try:
        await bus.broadcast(STANDING_CHANGED, StandingChanged(adapters=named))
    except ServiceError as error:
        log.warning("standing_not_announced", reason=error.code)


async def announce_run(bus: Bus, run_id: str) -> None:
    """Lossy too: whoever shows runs also reads them now and then."""
    try:
        await bus.broadcast(RUN_CHANGED, RunRef(run_id=run_id))
    except ServiceError as error:
        log.debug("run_not_announced", reason=error.code)
