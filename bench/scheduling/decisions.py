"""How long one decision takes: the scheduler's own, over a fleet of unequal nodes that are all fit to be chosen."""

from __future__ import annotations

import time

from bench.scheduling.boards import fleet
from bench.scheduling.node import MODEL, Node
from libs.shared.contracts.scheduling import PlaceRequest
from libs.shared.contracts.telemetry import NodeTelemetry, with_adapter
from services.scheduler.placement import choose
from services.scheduler.registry import Registry, RegistryRules

REPEATS = 9
ADAPTER = "ada"
LOADED_EVERY = 3
"""One node of so many has the adapter in memory."""


def decision_us(nodes: int, *, adapter: bool = False) -> float:
    """Microseconds of CPU for a decision and the counts of its reasons: the best of several rounds. With ``adapter``,
    for a request that names one with its model, which every node has."""
    registry = Registry(RegistryRules(), lambda: 0.0)
    for place, board in enumerate(fleet(nodes)):
        node = Node(place, board)
        node.learn(1155, 211)
        told = node.telemetry(0.0)
        registry.hear(_adapted(told, loaded=place % LOADED_EVERY == 0) if adapter else told)
    name = with_adapter(MODEL, ADAPTER) if adapter else MODEL
    request = PlaceRequest(model=name, adapts=adapter, prompt_tokens=1000)
    rounds = max(20, 20_000 // nodes)
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        for number in range(rounds):
            decision = choose(request, registry.snapshot(), 1.0, draw=number / rounds)
            assert decision.reasons
        best = min(best, (time.process_time() - begun) / rounds)
    return best * 1e6


def _adapted(told: NodeTelemetry, *, loaded: bool) -> NodeTelemetry:
    models = tuple(model.model_copy(update={"adapters": (ADAPTER,)}) for model in told.models)
    here = (with_adapter(MODEL, ADAPTER),) if loaded else ()
    replicas = tuple(replica.model_copy(update={"adapters": here}) for replica in told.replicas)
    return told.model_copy(update={"models": models, "replicas": replicas})
