"""Telling how a turn went, in numbers alone, to whoever watches what a change of settings does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.watching import TURN_MEASURED, TurnMeasured
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.outcomes import OF_THE_REQUEST
from services.cognition.selection import Hit

log = get_logger(__name__)


@dataclass
class TurnClock:
    """One turn under way."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    evidence: float | None = None
    first_s: float | None = None
    _began_s: float = field(default_factory=monotonic)

    def recalled(self, hits: Sequence[Hit]) -> None:
        """What a search of the memory brought."""
        self.evidence = min(1.0, max((hit.evidence for hit in hits), default=0.0))

    def came(self) -> None:
        """A piece of the answer."""
        if self.first_s is None:
            self.first_s = monotonic() - self._began_s

    def ended(self, error: ServiceError | None = None) -> TurnMeasured:
        """A request that can't be answered says nothing of who was to answer it."""
        failed = error is not None and not isinstance(error, OF_THE_REQUEST)
        return TurnMeasured(began=self.began, first_s=self.first_s, failed=failed, evidence=self.evidence)


async def tell(bus: Bus, measured: TurnMeasured) -> None:
    """Lossy: a turn that isn't counted is one of many."""
    try:
        await bus.broadcast(TURN_MEASURED, measured)
    except ServiceError as error:
        log.debug("turn_measure_not_told", reason=error.code)
