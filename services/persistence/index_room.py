"""How much memory users' indexes may take: by the runtime setting, by this process's own, by the machine at most."""

from __future__ import annotations

from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.hardware.workers import read_capacity
from services.persistence.indexes import Indexes
from services.persistence.settings import PersistenceSettings

LEAST_INDEX_MIB = 16
ROOM_SHARE = 0.25
"""Of the machine's memory, or of what this process may use of it: the models take most of the rest."""
MIB = 1024 * 1024


def index_room_mib(settings: PersistenceSettings) -> int:
    """The most that is worth asking for; no less than what this process was given. Reads the machine."""
    return max(settings.index_memory_mib, int(read_capacity().memory_mib * ROOM_SHARE))


def obey(indexes: Indexes, settings: PersistenceSettings, in_force: RuntimeSettings) -> None:
    """At once: what no longer fits is given up."""
    wanted = settings.index_memory_mib if in_force.index_memory_mib is None else in_force.index_memory_mib
    if wanted * MIB != indexes.budget_bytes:
        indexes.resize(wanted * MIB)
