"""Where requests run, tuned by replaying what a simulated network was asked; what comes of it on other requests there.

The truth is ``bench.scheduling``'s simulation, with telemetry five seconds old and the scheduler's registry: none of
which the replay has. Requests come by Poisson's law with lengths from a published trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.scheduling.boards import fleet
from bench.scheduling.simulation import Conditions, Outcome, Simulation
from bench.scheduling.workload import Shape, arrivals
from libs.shared.contracts.runtime_settings import RuntimeSettings
from services.optimizer.tuning.placement import tuned
from services.optimizer.tuning.ways import ways
from services.scheduler.replaying.blocks import in_blocks
from services.scheduler.replaying.exchange import ReplayJob
from services.scheduler.replaying.simulating import replayed
from services.scheduler.replaying.trace import MOST_REQUESTS, server_of

NODES, MOST_TOKENS = 8, 256
LOADS, QUICK_LOADS = (0.3, 0.6, 0.8, 0.9), (0.8,)
TRUTH_SEEDS, TRUTH_REQUESTS = (11, 12), 4000
DELIVERED = RuntimeSettings()
STARTS = (
    DELIVERED,
    RuntimeSettings(placement_others=0.0),
    RuntimeSettings(placement_policy="least_in_flight"),
)


@dataclass(frozen=True)
class PlacementRun:
    """From one start under one load. Seconds until an answer's end on requests that the replay never saw, by the
    network's simulation: (mean, 95th percentile) of what was in force, of what is then, and as delivered."""

    load: float
    start: str
    value: str
    proposed: bool
    before: tuple[float, float]
    after: tuple[float, float]
    delivered: tuple[float, float]
    reason: str


def placements(loads: Sequence[float] = LOADS) -> list[PlacementRun]:
    """Every start under every load."""
    found = []
    for load in loads:
        delivered = truth(load, DELIVERED)
        found += [_run(load, start, delivered) for start in STARTS]
    return found


def simulated(load: float, settings: RuntimeSettings, requests: int, seed: int) -> tuple[Simulation, Outcome]:
    boards = fleet(NODES)
    network = Simulation(boards, settings.placement_policy, Conditions(known=True, settings=settings), seed)
    return network, network.run(arrivals(boards, load, requests, seed, Shape(MOST_TOKENS)))


def truth(load: float, settings: RuntimeSettings) -> tuple[float, float]:
    """(mean, 95th percentile) in seconds, over the seeds."""
    runs = [simulated(load, settings, TRUTH_REQUESTS, seed)[1] for seed in TRUTH_SEEDS]
    return fmean(fmean(run.answered.values()) for run in runs), fmean(run.percentile(0.95) for run in runs)


def _run(load: float, settings: RuntimeSettings, delivered: tuple[float, float]) -> PlacementRun:
    network, _ = simulated(load, settings, MOST_REQUESTS, seed=1)
    (scheduler,) = network.schedulers
    (candidates,) = scheduler.registry.snapshot().candidates.values()
    tried = ways(settings)
    job = ReplayJob(arrivals=scheduler.trace.arrivals, servers=tuple(server_of(one) for one in candidates), ways=tried)
    outcome = tuned(in_blocks(replayed(job), NODES), tried)
    one = outcome.proposal
    after = settings if one is None else settings.model_copy(update={one.key: one.value})
    before = delivered if settings == DELIVERED else truth(load, settings)
    return PlacementRun(
        load=load,
        start=_said(settings),
        value=_said(after),
        proposed=one is not None,
        before=before,
        after=before if one is None else delivered if after == DELIVERED else truth(load, after),
        delivered=delivered,
        reason=outcome.reason,
    )


def _said(settings: RuntimeSettings) -> str:
    if settings.placement_policy != DELIVERED.placement_policy:
        return str(settings.placement_policy)
    return f"others weigh {settings.placement_others:g}"
