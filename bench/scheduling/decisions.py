"""How long one decision takes: the scheduler's own, over a fleet of unequal nodes that are all fit to be chosen."""

from __future__ import annotations

import time

from bench.scheduling.boards import fleet
from bench.scheduling.node import MODEL, Node
from libs.shared.contracts.scheduling import PlaceRequest
from services.scheduler.placement import choose
from services.scheduler.registry import Registry, RegistryRules

REPEATS = 9


def decision_us(nodes: int) -> float:
    """Microseconds of CPU for a decision and the counts of its reasons: the best of several rounds."""
    registry = Registry(RegistryRules(), lambda: 0.0)
    for place, board in enumerate(fleet(nodes)):
        node = Node(place, board)
        node.learn(1155, 211)
        registry.hear(node.telemetry(0.0))
    request = PlaceRequest(model=MODEL, prompt_tokens=1000)
    rounds = max(20, 20_000 // nodes)
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        for number in range(rounds):
            decision = choose(request, registry.snapshot(), 1.0, draw=number / rounds)
            assert decision.reasons
        best = min(best, (time.process_time() - begun) / rounds)
    return best * 1e6
