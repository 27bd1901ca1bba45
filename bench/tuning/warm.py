"""How many evaluations a second node needs until it has what a first one kept: from nothing, and from what it told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.tuning.data import Replayable
from bench.tuning.starts import STARTS, with_weights
from bench.tuning.tuned import FOREVER_S, searched
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RecallWeights
from services.optimizer.replay.held import Held, held
from services.optimizer.replay.parting import share_of
from services.optimizer.tuning.attempts import Attempt
from services.optimizer.tuning.searching import search
from services.optimizer.tuning.space import Point, point_of
from services.optimizer.tuning.warm import Kept, start_from
from services.optimizer.tuning.weighing import Objective

FROM = ("length first", "without words", "newest and most important")
"""Weights that are worth tuning: from the product's own a first node keeps nothing."""
LIES: tuple[object, ...] = (
    dict.fromkeys(RecallWeights.model_fields, 1000000000.0),
    {"terms": 1.0},
    "all of it",
    RecallWeights(**dict.fromkeys(RecallWeights.model_fields, 0.0)).model_dump(),
)
"""What a node that lies may claim to have gained most by; the last one is in bounds, and finds nothing."""


CLOSE = 1e-9


class _ThereError(Exception):
    """The aim was reached."""


@dataclass(frozen=True)
class Reached:
    """Evaluations until the kept objective was reached: the most that were allowed where it wasn't."""

    start: str
    seed: int
    cold: int
    cold_reached: bool
    warm: int
    lied_to: int
    """Where a node claims more by LIES than the first one does."""


def reached(questions: Sequence[Replayable], points: int, seeds: Sequence[int]) -> list[Reached]:
    """Two nodes that are asked in different conversations, each start with each seed."""
    first, second = (_of_node([one.told for one in questions], node) for node in (0, 1))
    return [_reached(first, second, start, seed, points) for start in FROM for seed in seeds]


def _of_node(evidence: Sequence[Evidence], node: int) -> Held:
    return held([one for one in evidence if (share_of(one.conversation_id, "node") < 0.5) is (node == 0)])


def _reached(first: Held, second: Held, start: str, seed: int, points: int) -> Reached:
    settings = with_weights(STARTS[start])
    kept = searched(first, first, settings, points, seed).found
    assert kept is not None, "a first node that found nothing has nothing to tell"
    aim = Objective(second, settings).value(point_of(kept))
    own = point_of(settings.recall_weights)
    told = Kept(kept.model_dump(), 0.1)
    lies = [Kept(lie, 1.0) for lie in LIES]
    cold = _evaluations(second, start, (own,), aim, seed + 1000, points)
    warm = _evaluations(second, start, (own, *start_from([told], own)), aim, seed + 1000, points)
    lied_to = _evaluations(second, start, (own, *start_from([*lies, told], own)), aim, seed + 1000, points)
    return Reached(start, seed, cold or points, cold is not None, warm or points, lied_to or points)


def _evaluations(asked: Held, start: str, first: Sequence[Point], aim: float, seed: int, points: int) -> int | None:
    """None where so many points didn't do it."""
    tried: list[Attempt] = []

    def told(one: Attempt) -> None:
        tried.append(one)
        if one.value >= aim - CLOSE and not one.pruned:
            raise _ThereError

    objective = Objective(asked, with_weights(STARTS[start]))
    try:
        search(objective, first, most=points, seconds=FOREVER_S, seed=seed, told=told)
    except _ThereError:
        return len(tried)
    return None
