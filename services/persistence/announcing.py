"""Telling the other services that a user's memory is not what they last saw."""

from __future__ import annotations

from libs.shared.bus import Bus
from libs.shared.contracts.memory import MEMORY_CHANGED, MemoryChanged
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

log = get_logger(__name__)


async def announce_memory_changed(bus: Bus, user_id: str) -> None:
    """Lossy by nature: what listeners cache also expires."""
    try:
        await bus.broadcast(MEMORY_CHANGED, MemoryChanged(user_id=user_id))
    except ServiceError as error:
        log.warning("memory_change_not_announced", reason=error.code)
