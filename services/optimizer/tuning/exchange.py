"""What goes to the child process that tunes, and what comes back; needs no numpy, as the child alone does."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from libs.shared.contracts.caching import CacheCurve
from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.replaying_placements import PlacementsReplayed, Way
from libs.shared.contracts.runtime_settings import RuntimeSettings
from services.optimizer.tuning.attempts import Attempt
from services.optimizer.tuning.space import Point

LEAST_HOURS, LEAST_USES = 12, 200
"""Of a cache, in the hours that choose its size and in those that decide: fewer tell nothing."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TuneJob(_Value):
    """Some more points of one search; ``finish`` to judge what it came to instead."""

    evidence: tuple[Evidence, ...]
    settings: RuntimeSettings
    first: tuple[Point, ...] = ()
    offered: dict[str, tuple[Any, ...]] = {}
    """By budget, what other nodes say that they kept."""
    done: tuple[Attempt, ...] = ()
    most: int
    """Points, those done among them."""
    seconds: float
    seed: int
    finish: bool = False


class Proposal(_Value):
    """A setting that is worth a change, and what that was measured by."""

    key: str
    value: Any
    reason: str
    measured: tuple[Measured, ...]


class TuneResult(_Value):
    """All that was tried so far; what is proposed, or why nothing is, once it is finished."""

    done: tuple[Attempt, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    reasons: tuple[str, ...] = ()


class Tuned(_Value):
    """What came of a setting of which every value was looked at; without a proposal ``reason`` says why."""

    reason: str
    proposal: Proposal | None = None


class CacheJob(_Value):
    """A cache's size by what other sizes would have held."""

    curve: CacheCurve

    @property
    def too_few(self) -> bool:
        """Whether no child process has to look."""
        hours = self.curve.hours
        return len(hours) < 2 * LEAST_HOURS or sum(one.uses for one in hours) < 2 * LEAST_USES


class PlacementJob(_Value):
    """Where requests run, by what they would have waited elsewhere."""

    replayed: PlacementsReplayed
    ways: tuple[Way, ...]
