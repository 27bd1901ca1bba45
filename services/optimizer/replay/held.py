"""Evidence as arrays. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RecallWeights
from services.optimizer.replay.parting import HELD_OUT, SALT, aside

Floats = NDArray[np.float64]
PARTS = tuple(name for name in RecallWeights.model_fields if name != "repetition")
"""What a score is the sum of, in the order of the arrays' last axis."""


@dataclass(frozen=True)
class Held:
    """Questions side by side, padded to the most candidates; ``alive`` says which are."""

    evidence: tuple[Evidence, ...]
    parts: Floats
    """Questions x candidates x PARTS."""
    applying: Floats
    """Questions x PARTS: 1.0 for those that the question has."""
    alive: NDArray[np.bool_]
    relevant: NDArray[np.bool_]
    speaks: Floats
    """How much speaks for each."""
    tokens: Floats

    def __len__(self) -> int:
        return len(self.evidence)

    @property
    def conversations(self) -> tuple[str, ...]:
        """Of each question."""
        return tuple(one.conversation_id for one in self.evidence)

    def only(self, keeps: Callable[[Evidence], bool]) -> Held:
        """Those questions alone."""
        return held(tuple(one for one in self.evidence if keeps(one)), resting=False)


def held(evidence: Sequence[Evidence], *, resting: bool = True) -> Held:
    """Of questions that rest on something: the others tell nothing of what is found. ``resting`` False: of all, for
    what memories cost them."""
    asked = tuple(one for one in evidence if one.relevant or not resting)
    most = max((len(one.evidence) for one in asked), default=0)
    made = Held(
        evidence=asked,
        parts=np.zeros((len(asked), most, len(PARTS))),
        applying=np.zeros((len(asked), len(PARTS))),
        alive=np.zeros((len(asked), most), dtype=np.bool_),
        relevant=np.zeros((len(asked), most), dtype=np.bool_),
        speaks=np.zeros((len(asked), most)),
        tokens=np.zeros((len(asked), most)),
    )
    for place, one in enumerate(asked):
        _fill(made, place, one)
    return made


def _fill(made: Held, place: int, one: Evidence) -> None:
    """Raises ValueError where the columns don't fit the candidates."""
    count = len(one.evidence)
    known = [at for at, name in enumerate(one.parts) if name in PARTS]
    columns: Any = np.frombuffer(one.columns, dtype="<f4").reshape(count, len(one.parts))[:, known]
    where = [PARTS.index(one.parts[at]) for at in known]
    made.parts[place, :count, where] = columns.T
    made.applying[place, where] = 1.0
    made.alive[place, :count] = True
    made.relevant[place, list(one.relevant)] = True
    made.speaks[place, :count] = one.evidence
    made.tokens[place, :count] = one.tokens


def parted(
    evidence: Sequence[Evidence], salt: str = SALT, share: float = HELD_OUT, *, resting: bool = True
) -> tuple[Held, Held]:
    """(to tune on, held out), by conversation, whose questions would otherwise tell each other's answers."""
    tuning, judging = ([one for one in evidence if aside(one, salt, share) is out] for out in (False, True))
    return held(tuning, resting=resting), held(judging, resting=resting)
