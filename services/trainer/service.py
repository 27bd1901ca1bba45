"""The only wiring of the trainer: what it serves, hears and consumes."""

from __future__ import annotations

from libs.shared.background.yielding import Yielding
from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import PREEMPT
from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.contracts.training import CANCEL_RUN, REMOVE_RUN, START_RUN, TRAINING_REQUESTED
from libs.shared.hardware import recommended_worker_count
from libs.shared.service import ServiceContext
from libs.shared.telemetry import get_logger
from services.trainer.availability import lacking
from services.trainer.handlers import Training
from services.trainer.running import Runner
from services.trainer.settings import TrainerSettings

log = get_logger(__name__)


async def wire(context: ServiceContext) -> None:
    """Serves every subject of the trainer."""
    settings = context.settings
    assert isinstance(settings, TrainerSettings)
    if (reason := lacking()) is not None:
        log.info("training_not_possible", reason=reason)
    context.check("libraries", _libraries, required=False)
    await serve(context.bus, settings)


async def serve(bus: Bus, settings: TrainerSettings) -> None:
    """Requests are heard of before anything is begun."""
    yielding = Yielding(bus, settings.node_id)
    runner = Runner(bus, settings.folder, yielding, settings.training_threads or recommended_worker_count())
    training = Training(bus, settings.folder, runner)
    await bus.subscribe(PREEMPT, yielding.preempted)
    await bus.serve(START_RUN, training.start_run)
    await bus.serve(CANCEL_RUN, training.cancel_run)
    await bus.serve(REMOVE_RUN, training.remove_run)
    await bus.consume(TRAINING_REQUESTED, TRAINING_REQUESTED.consumers[0], runner.run)


async def _libraries() -> DependencyHealth:
    reason = lacking()
    return DependencyHealth(ok=reason is None, detail=reason or "")
