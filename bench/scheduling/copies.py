"""Hedging in the simulation: the product's own decision, measurement and budget, and what its copies cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.scheduling.choosers import Chosen
from bench.scheduling.node import MODEL, SERVED
from bench.scheduling.workload import Request
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import Placement, PlaceRequest
from services.cognition.hedging import Hedge, HedgeBudget, Lateness, decide


@dataclass
class Copies:
    """One for all callers of a simulation."""

    settings: RuntimeSettings = field(default_factory=RuntimeSettings)
    budget: HedgeBudget = field(default_factory=HedgeBudget)
    lateness: Lateness = field(default_factory=Lateness)
    counts: dict[str, int] = field(default_factory=dict)
    """By what became of them, as ``llm.ray.hedges`` counts."""
    wasted_s: float = 0.0
    """What nodes worked on copies that were stopped."""

    def earn(self) -> None:
        """A request came."""
        if self.settings.hedging:
            self.budget.earn(self.settings.hedging_share)

    def hedge(self, request: Request, chosen: Chosen, tried: int) -> Hedge:
        """What the product decides of a request that was just placed."""
        asked = PlaceRequest(prompt_tokens=request.prompt_tokens, max_tokens=request.max_tokens)
        placement = Placement(
            node_id="n", replica="n-0", model=SERVED, policy="any", expected_first_s=chosen.expected_first_s
        )
        return decide(self.settings, asked, placement, self.lateness.of(MODEL), tried=tried)

    def came(self, took_s: float, chosen: Chosen) -> None:
        """A first token, or none by then."""
        self.lateness.came(MODEL, took_s, chosen.expected_first_s)

    def count(self, what: str) -> None:
        """Something befell a copy."""
        self.counts[what] = self.counts.get(what, 0) + 1
