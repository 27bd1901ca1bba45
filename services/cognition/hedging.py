"""Whether a short request that is late is sent to a second node as well, after how long, and how often that may happen.

J. Dean and L. A. Barroso, *The Tail at Scale*, Communications of the ACM 56 (2013): a second copy only once the first
has been outstanding for longer than the 95th percentile of what is expected for its class, and the slower one stopped.
The class is what the scheduler reckons of this request on this node; measured is by how much such reckonings are
exceeded. Pure.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, NamedTuple

from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import Placement, PlaceRequest

QUANTILE = 0.95
FEWEST = 20
"""First tokens of a model that have to be measured before any of its requests counts as late."""
KEPT = 200
MODELS = 64
LEAST_S = 0.05
"""A first token that is due sooner is taken for due then: a second copy is no quicker on its way."""
LEAST_FACTOR = 1.5
"""Where reckonings are good a twentieth of all first tokens comes a little late, and second copies of those lose."""
MOST_SAVED = 10.0
"""Second copies that can be saved up: a node that turns slow all at once makes a burst of late requests."""

Why = Literal[
    "off", "tried_again", "remote", "tools", "long_prompt", "long_answer", "unreckoned", "unmeasured", "short"
]
MEASURED: frozenset[Why] = frozenset({"off", "unmeasured", "short"})
"""Of the class whose first tokens are measured: while hedging is off too, so that it works once it is switched on."""


class Hedge(NamedTuple):
    """Seconds after which a second copy is sent, None for never; and why."""

    after_s: float | None
    why: Why


def decide(
    settings: RuntimeSettings, asked: PlaceRequest, placement: Placement, lateness: float | None, *, tried: int
) -> Hedge:
    """For a request that was just placed. ``lateness`` is by what factor first tokens of its model come later than
    reckoned at the quantile, None where too few came; ``tried`` counts the replicas that failed before."""
    why = _never(settings, asked, placement, tried)
    if why is not None:
        return Hedge(None, why)
    if placement.expected_first_s is None:
        return Hedge(None, "unreckoned")
    if lateness is None:
        return Hedge(None, "unmeasured")
    return Hedge(max(LEAST_FACTOR, lateness) * due_s(placement.expected_first_s), "short")


def _never(settings: RuntimeSettings, asked: PlaceRequest, placement: Placement, tried: int) -> Why | None:
    """Why this request is not to be sent twice, whatever is known of its node."""
    if tried:
        return "tried_again"
    if placement.model.remote:
        return "remote"
    if "tools" in asked.needs:  # calls come whole, so that the first token is the last
        return "tools"
    if asked.prompt_tokens > settings.hedging_prompt_tokens:
        return "long_prompt"
    if asked.max_tokens > settings.hedging_answer_tokens:
        return "long_answer"
    return None if settings.hedging else "off"


def due_s(expected_first_s: float) -> float:
    """When a first token is due that is reckoned to come after so many seconds."""
    return max(LEAST_S, expected_first_s)


class Lateness:
    """How first tokens came, of what the scheduler reckoned; one for all requests of a process, by model."""

    def __init__(self) -> None:
        self._factors: dict[str, deque[float]] = {}

    def came(self, model: str, took_s: float, expected_first_s: float | None) -> None:
        """A first token came after ``took_s``; or none had come by then, when another node was quicker."""
        if expected_first_s is None:
            return
        if model not in self._factors and len(self._factors) >= MODELS:
            self._factors.pop(next(iter(self._factors)))
        self._factors.setdefault(model, deque(maxlen=KEPT)).append(took_s / due_s(expected_first_s))

    def of(self, model: str) -> float | None:
        """The factor that all but the latest twentieth of them keep within; None: too few are known."""
        factors = self._factors.get(model, ())
        if len(factors) < FEWEST:
            return None
        return sorted(factors)[math.ceil(QUANTILE * len(factors)) - 1]


class HedgeBudget:
    """A share of all requests: each earns a part of a second copy. None is there at the start, and none comes by time
    alone, so that copies never are more than the share. Not thread-safe: it belongs to one event loop."""

    def __init__(self) -> None:
        self._saved = 0.0

    def earn(self, share: float) -> None:
        """A request came."""
        self._saved = min(MOST_SAVED, self._saved + share)

    def spend(self) -> bool:
        """Whether a second copy may be sent; if so, it counts."""
        if self._saved < 1.0 - 1e-9:
            return False
        self._saved -= 1.0
        return True

    def give_back(self) -> None:
        """It was not sent after all."""
        self._saved = min(MOST_SAVED, self._saved + 1.0)
