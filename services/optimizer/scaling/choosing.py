"""Which way workers are run here, and whether what it needs is there."""

from __future__ import annotations

from importlib.util import find_spec

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
    if not bounds:
        raise ScalingError("MONGARS_SCALING_WORKERS names no workers")
    _need({"docker": "docker", "kubernetes": "aiohttp"}[way])
    return _containers(settings, bounds) if way == "docker" else _deployments(settings, bounds)


def _need(library: str) -> None:
    if find_spec(library) is None:
        raise ScalingError(f"the library {library} is not installed")


def _containers(settings: OptimizerSettings, bounds: dict[str, Bounds]) -> Scaler:
    from services.optimizer.scaling.docker import Containers

    if settings.scaling_project is None:
        raise ScalingError("MONGARS_SCALING_PROJECT names no compose project")
    return Containers(settings.scaling_docker, settings.scaling_project, bounds, settings.scaling_prefix)


def _deployments(settings: OptimizerSettings, bounds: dict[str, Bounds]) -> Scaler:
    from services.optimizer.scaling.kubernetes import Cluster, Deployments

    cluster = Cluster(
        settings.scaling_api.rstrip("/"), settings.scaling_account, settings.scaling_namespace, settings.scaling_prefix
    )
    return Deployments(cluster, bounds)
