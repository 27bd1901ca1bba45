"""Evidence as arrays, and its parting by conversation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from libs.shared.contracts.ledger import RecallWeights
from libs.shared.contracts.replay import Evidence

Floats = NDArray[np.float64]
PARTS = tuple(name for name in RecallWeights.model_fields if name != "repetition")
"""What a score is the sum of, in the order of the arrays' last axis."""
SALT = "held-out"
HELD_OUT = 0.4
"""Of the conversations: never seen by a search, and what decides."""


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
        return held(tuple(one for one in self.evidence if keeps(one)))


def held(evidence: Sequence[Evidence]) -> Held:
    """Of questions that rest on something; the others tell nothing of a setting."""
    asked = tuple(one for one in evidence if one.relevant)
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


def share_of(conversation_id: str, salt: str) -> float:
    """Where a conversation lies in 0..1: always the same for one salt, and unlike anything that is said in it."""
    digest = blake2b(f"{salt}\0{conversation_id}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


def parted(evidence: Sequence[Evidence], salt: str = SALT, share: float = HELD_OUT) -> tuple[Held, Held]:
    """(to tune on, held out), by conversation, whose questions would otherwise tell each other's answers."""
    tuning, out = ([one for one in evidence if _aside(one, salt, share) is aside] for aside in (False, True))
    return held(tuning), held(out)


def sides(evidence: Sequence[Evidence], salt: str = SALT, share: float = HELD_OUT) -> tuple[int, int]:
    """How many questions lie on either side."""
    out = sum(_aside(one, salt, share) for one in evidence if one.relevant)
    return sum(bool(one.relevant) for one in evidence) - out, out


def _aside(one: Evidence, salt: str, share: float) -> bool:
    return share_of(one.conversation_id, salt) < share
