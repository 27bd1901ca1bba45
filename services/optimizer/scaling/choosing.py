"""Which way workers are run here, and whether what it needs is there."""

from __future__ import annotations

from libs.shared.hardware import recommended_worker_count
from libs.shared.telemetry import get_logger
from services.optimizer.scaling.base import Bounds, Scaler, ScalingError, read_bounds
from services.optimizer.scaling.process import SupervisedProcesses
from services.optimizer.settings import OptimizerSettings

COGNITION_MIB = 256
"""What a busy process of cognition takes."""

log = get_logger(__name__)


def chosen(settings: OptimizerSettings) -> Scaler | None:
    """None where nothing is scaled: as it was set, or with a warning that says what is missing."""
    way = settings.scaling or ("process" if settings.folder.supervisor_socket.exists() else "off")
    if way == "off":
        return None
    try:
        return _made(way, settings, read_bounds(settings.scaling_workers))
    except ScalingError as error:
        log.warning("scaling_unavailable", way=way, reason=str(error))
        return None


def _made(way: str, settings: OptimizerSettings, bounds: dict[str, Bounds]) -> Scaler:
    if way == "process":
        carried = {"cognition": Bounds(1, max(1, recommended_worker_count(COGNITION_MIB)))}
        return SupervisedProcesses(settings.folder.supervisor_socket, bounds or carried)
    raise ScalingError(f"nothing here scales by {way}")
