"""Which texts say nearly the same: every pair that shares enough runs of words, and not one missed. Pure.

The likeness of two texts is that of their sets of three-word runs by Jaccard (Broder 1997, "On the resemblance and
containment of documents"). Pairs are found by prefix filtering (Bayardo, Ma and Srikant 2007, "Scaling up all pairs
similarity search"): in one order of all runs, the rarest first, two sets that are alike enough share a run among the
first few of each. Unlike MinHash, which misses some pairs, this is exact, as a split needs across which nothing leaks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from libs.shared.text import words

RUN_WORDS = 3
Shingles = frozenset[tuple[str, ...]]


def normal(text: str) -> str:
    """The same for texts that differ in case, accents, spaces or punctuation alone."""
    return " ".join(words(text))


def shingles(text: str) -> Shingles:
    """The runs of ``RUN_WORDS`` words in ``text``, folded; of a shorter text, the one run that it is."""
    found = words(text)
    if len(found) < RUN_WORDS:
        return frozenset([tuple(found)]) if found else frozenset()
    return frozenset(zip(*(found[at:] for at in range(RUN_WORDS)), strict=False))


def jaccard(one: Shingles, other: Shingles) -> float:
    """0 to 1; of two empty sets, 0."""
    union = len(one | other)
    return len(one & other) / union if union else 0.0


class Alike:
    """Sets that were added, and whether a further one is at least ``least`` like any of them, 0 < ``least`` <= 1."""

    def __init__(self, all_sets: Iterable[Shingles], least: float) -> None:
        self._least = least
        self._frequency = Counter(run for one in all_sets for run in one)
        """Fixed from the beginning: prefixes say nothing of each other unless they were cut in one order."""
        self._added: list[Shingles] = []
        self._by_run: dict[tuple[str, ...], list[int]] = defaultdict(list)

    def add(self, one: Shingles) -> None:
        for run in self._prefix(one):
            self._by_run[run].append(len(self._added))
        self._added.append(one)

    def knows(self, one: Shingles) -> bool:
        """Whether one that was added is like ``one``; an empty set is like none."""
        candidates = {at for run in self._prefix(one) for at in self._by_run.get(run, ())}
        return any(jaccard(one, self._added[at]) >= self._least for at in candidates)

    def _prefix(self, one: Shingles) -> list[tuple[str, ...]]:
        ordered = sorted(one, key=lambda run: (self._frequency[run], run))
        # Two sets that are alike share so many runs at least that one of them is no later than here in both.
        return ordered[: len(ordered) - math.ceil(self._least * len(ordered) - 1e-9) + 1]
