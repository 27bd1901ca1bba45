"""How often what an answer gives away of its evidence is the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from bench.tuning.data import Replayable


class Labels(NamedTuple):
    """Over all questions whose evidence is among the candidates."""

    questions: int
    labelled: float
    """The share whose answer is told to rest on something."""
    precision: float
    """Of what is told, the share that is evidence, over labelled questions."""
    recall: float
    """Of the evidence, the share that is told, over labelled questions."""
    first: float
    """The share of labelled questions whose most telling memory is evidence."""


def labels(questions: Sequence[Replayable]) -> Labels:
    """LoCoMo's gold answers taken for the answers that were given."""
    told = [(one.told.relevant, set(one.gold.relevant)) for one in questions if one.told.relevant]
    return Labels(
        len(questions),
        len(told) / len(questions),
        fmean(len(gold.intersection(said)) / len(said) for said, gold in told),
        fmean(len(gold.intersection(said)) / len(gold) for said, gold in told),
        fmean(said[0] in gold for said, gold in told),
    )
