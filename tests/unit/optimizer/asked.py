"""Questions to replay, in values: what was found for each, and what its answer rested on."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence

from libs.shared.contracts.replay import Alike, Evidence


def evidence(
    number: int,
    columns: Mapping[str, Sequence[float]],
    *,
    relevant: Sequence[int] = (0,),
    conversation: str | None = None,
    newer: Sequence[int] | None = None,
    alike: Sequence[Alike] = (),
    past: bool = False,
    speaks: float = 1.0,
) -> Evidence:
    """By part a value a candidate."""
    size = len(next(iter(columns.values())))
    rows = array("f", [columns[name][place] for place in range(size) for name in columns])
    return Evidence(
        turn_id=f"asked-{number}",
        conversation_id=conversation or f"talk-{number}",
        parts=tuple(columns),
        columns=rows.tobytes(),
        evidence=(speaks,) * size,
        tokens=(10,) * size,
        newer=tuple(newer) if newer is not None else (-1,) * size,
        alike=tuple(alike),
        past=past,
        relevant=tuple(relevant),
    )


def asked(count: int, *, seed: int = 1, telling: str = "terms", candidates: int = 30) -> list[Evidence]:
    """Questions whose answers stand where ``telling`` is high; the other parts are noise. Two to a conversation."""
    chance = random.Random(seed)
    return [_question(number, chance, telling, candidates) for number in range(count)]


def _question(number: int, chance: random.Random, telling: str, candidates: int) -> Evidence:
    names = ("terms", "meaning", "length", "importance")
    columns = {name: [chance.random() for _ in range(candidates)] for name in names}
    right = chance.randrange(candidates)
    columns[telling][right] = chance.uniform(0.95, 1.0)
    return evidence(number, columns, relevant=(right,), conversation=f"talk-{number // 2}")
