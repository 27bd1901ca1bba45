"""How good a ranking is: whether evidence is among the first ten, how much of it, and how early the first stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from bench.locomo.data import KINDS

K = 10
ALL = "all"


class Score(NamedTuple):
    """Of one question, or the mean over many."""

    any_evidence: float
    evidence: float
    mrr: float

    def __str__(self) -> str:
        return " / ".join(f"{value:.3f}" for value in self)


Judged = Sequence[tuple[str, Score]]
"""The kind of each question, and how it went."""
Scores = dict[str, Score]
"""By kind of question, and over ALL."""


def judge(ranked: Sequence[str], gold: Collection[str]) -> Score:
    """Of the K first, which are evidence."""
    hits = [place for place, name in enumerate(ranked[:K], 1) if name in gold]
    return Score(float(bool(hits)), len(hits) / len(gold), 1 / hits[0] if hits else 0.0)


def by_kind(judged: Judged) -> Scores:
    """Means; a kind without questions has none."""
    asked = {kind for kind, _ in judged}
    kinds = (ALL, *(kind for kind in KINDS.values() if kind in asked))
    return {name: _each(fmean, [score for kind, score in judged if name in (ALL, kind)]) for name in kinds}


def worst(draws: Sequence[Scores]) -> Scores:
    """The least of each figure, whichever draw it is from."""
    return {kind: _each(min, [draw[kind] for draw in draws]) for kind in draws[0]}


def margin(judged: Judged) -> Score:
    """Half of the 95 % interval over questions."""
    return _each(lambda values: 1.96 * stdev(values) / len(values) ** 0.5, [score for _, score in judged])


def _each(combine: Callable[[list[float]], float], scores: Sequence[Score]) -> Score:
    return Score(*(combine(list(values)) for values in zip(*scores, strict=True)))
