"""Live events over HTTP: their types, and what each says. Nothing here goes over the bus."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from libs.shared.contracts.adapters import ServiceRole
from libs.shared.contracts.base import Message
from libs.shared.contracts.common import AdapterName
from libs.shared.contracts.ledger import Change
from libs.shared.contracts.sleep import Cycle
from libs.shared.contracts.training import RunProgressed, TrainingRun


class EventType(StrEnum):
    """What an event is about; ``DATA`` has what it says."""

    RUN_CHANGED = "run.changed"
    """A training run is there, or in another state. To operators."""
    RUN_PROGRESSED = "run.progressed"
    """Where a run stands; only the newest counts, and none is repeated. To operators."""
    ADAPTER_CHANGED = "adapter.changed"
    """To operators, and to those who may use it."""
    SLEEP_CHANGED = "sleep.changed"
    """A cycle of the night began, goes on or ended; only the newest of each counts. To operators."""
    CHANGE_CHANGED = "change.changed"
    """An entry of the ledger is there, or in another state. To operators."""
    LOST = "lost"
    """Something was missed: read the lists again."""
    ENDED = "ended"
    """Nothing follows, and why."""


class AdapterChange(StrEnum):
    """What happened to an adapter."""

    KEPT = "kept"
    """Imported, or trained and found to help."""
    REMOVED = "removed"
    PROMOTED = "promoted"
    CANARY = "canary"
    """It answers a share of the conversations, or another share than before."""
    ROLLED_BACK = "rolled_back"
    TAINTED = "tainted"
    SHARED = "shared"
    """Everybody may use it now."""
    RESTRICTED = "restricted"
    """Only those whose words trained it may."""


class AdapterChanged(Message):
    """``role`` and ``share``: of its service, where that is what changed."""

    adapter: AdapterName
    change: AdapterChange
    role: ServiceRole | None = None
    share: float | None = None


class Lost(Message):
    """``slow``: more happened than was read; ``unknown``: what followed the last id is no longer known."""

    reason: Literal["slow", "unknown"]


class Ended(Message):
    """``credential``: it expired or was revoked; ``stopping``: the gateway goes, and comes again."""

    reason: Literal["credential", "stopping"]


DATA: dict[EventType, type[Message]] = {
    EventType.RUN_CHANGED: TrainingRun,
    EventType.RUN_PROGRESSED: RunProgressed,
    EventType.ADAPTER_CHANGED: AdapterChanged,
    EventType.SLEEP_CHANGED: Cycle,
    EventType.CHANGE_CHANGED: Change,
    EventType.LOST: Lost,
    EventType.ENDED: Ended,
}
