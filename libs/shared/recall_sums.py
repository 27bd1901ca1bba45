"""How the parts of a memory's score become one sum: in cognition when somebody asks, and in a replay. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

NO_PLACE = -1
ABOVE = 1e-6
"""By so much a memory is lifted above the one that it supersedes."""


def factors(weights: Mapping[str, float], applying: Collection[str]) -> dict[str, float]:
    """The weights of the parts that a question has, such that a memory with all of them scores 1."""
    wanted = {name: float(value) for name, value in weights.items() if value and name in applying}
    most = sum(value for value in wanted.values() if value > 0) or 1.0
    return {name: value / most for name, value in wanted.items()}


def lifted(scores: Sequence[float], newer: Sequence[int]) -> list[float]:
    """The scores with each superseding memory just above all that it supersedes, however long the chain."""
    result = list(scores)
    for start in sorted(range(len(newer)), key=lambda place: -scores[place]):
        place, after, seen = start, newer[start], {start}
        while after != NO_PLACE and after not in seen:
            if result[after] <= result[place]:
                result[after] = result[place] + ABOVE
            seen.add(after)
            place, after = after, newer[after]
    return result
