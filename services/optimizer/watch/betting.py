"""Whether turns after a change are worse than those before it, told as soon as it can be and whenever it is looked at.

Each turn after is held against one before, drawn without replacement: 1 where it is worse, −1 where it is better, 0
where they are alike. If nothing changed, either may come first as well, so that the mean is 0 and no bet on "worse"
gains on average. The wealth of a bettor who starts with 1 is then a supermartingale, and the chance that it *ever*
reaches 1 / α is at most α, however often it is looked at (Ville 1939; Shekhar and Ramdas 2023, "Nonparametric
two-sample testing by betting"; the stakes follow Waudby-Smith and Ramdas 2024, section 4, "aGRAPA"). Pure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MOST_STAKE = 0.75
"""Of the wealth: less than all of it, so that one better turn never ends the bet."""
FIRST_STAKE = 0.3
_DRAW = 11

Worse = Callable[[float, float], int]
"""Given a value before and one after: 1, 0 or −1."""


@dataclass(frozen=True)
class Bet:
    """``wealth``: at its highest; ``pairs``: that it took to get there; ``mean``: how much more turns were worse."""

    wealth: float = 1.0
    pairs: int = 0
    mean: float = 0.0


def more_is_worse(tolerance: float, floor: float = 0.0) -> Worse:
    """By more than the share ``tolerance`` of the lesser, and by more than ``floor``."""

    def worse(before: float, after: float) -> int:
        if after > before * (1 + tolerance) + floor:
            return 1
        return -1 if before > after * (1 + tolerance) + floor else 0

    return worse


def less_is_worse(floor: float) -> Worse:
    """By more than ``floor``."""

    def worse(before: float, after: float) -> int:
        return 1 if before > after + floor else -1 if after > before + floor else 0

    return worse


def paired(before: Sequence[float], after: Sequence[float], worse: Worse) -> list[int]:
    """Each of ``after``, in its order, against one of ``before``: as many as the fewer are."""
    drawn = list(before)
    # the same order at every look, so that all looks are at one bet
    random.Random(_DRAW).shuffle(drawn)  # noqa: S311 - nothing secret hangs on it
    return [worse(one, other) for one, other in zip(drawn, after, strict=False)]


def bet(differences: Iterable[int], enough: float = math.inf) -> Bet:
    """That they are worse, stake by stake, until the wealth is ``enough``; each stake is chosen before its difference
    is seen."""
    wealth, highest, total, squares = 1.0, Bet(), 0.0, 0.0
    for seen, difference in enumerate(differences):
        stake = FIRST_STAKE if not seen else min(MOST_STAKE, max(0.0, total / max(squares, 1.0)))
        wealth *= 1 + stake * difference
        total, squares = total + difference, squares + difference * difference
        if wealth > highest.wealth:
            highest = Bet(wealth, seen + 1, total / (seen + 1))
        if wealth >= enough:
            break
    return highest
