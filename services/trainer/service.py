"""The only wiring of the trainer: what it serves, and what it looks after."""

from __future__ import annotations

from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.service import ServiceContext
from libs.shared.telemetry import get_logger
from services.trainer.availability import lacking
from services.trainer.settings import TrainerSettings

log = get_logger(__name__)


async def wire(context: ServiceContext) -> None:
    """Serves every subject of the trainer."""
    assert isinstance(context.settings, TrainerSettings)
    if (reason := lacking()) is not None:
        log.info("training_not_possible", reason=reason)
    context.check("libraries", _libraries, required=False)


async def _libraries() -> DependencyHealth:
    reason = lacking()
    return DependencyHealth(ok=reason is None, detail=reason or "")
