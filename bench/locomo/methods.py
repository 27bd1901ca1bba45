"""The methods that are compared: for each table, what a method is called and how it ranks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.locomo.memory import PRODUCT
from bench.locomo.plain import Fusion, Values, convex, order, reciprocal_ranks, terms_of
from bench.locomo.runs import LIMIT, Case, Runs
from bench.locomo.scores import Judged, Scores, by_kind, judge, worst
from bench.locomo.tried import tried
from libs.shared.contracts.runtime_settings import RecallWeights

PRODUCT_NAME = "the product"
TOGETHER = (("terms", "episode_terms"), ("meaning", "episode_meaning"), ("episode_terms", "episode_meaning"))
ALONE = tuple(
    name for name in RecallWeights.model_fields if name not in ("terms", "meaning", "episode_terms", "episode_meaning")
)
"""Parts that are left out one at a time; the others go with what is made of them."""
TIE_BREAKERS = ("strength", "importance")
"""Of little weight on purpose."""
SEED, SHARE = 7, 0.3
LIMITS = (100, 64, LIMIT, 32)
"""Candidates by each kind of evidence."""


def without(*names: str) -> RecallWeights:
    """The product's weights, some of them 0."""
    return PRODUCT.model_copy(update=dict.fromkeys(names, 0.0))


def equal(*kept: str) -> RecallWeights:
    """Nothing fitted: every part but the ``kept`` counts as much as any other; what speaks against a memory counts a
    third."""
    told = {name: 1.0 if value > 0 else -1 / 3 for name, value in PRODUCT if name not in ("repetition", *kept)}
    return PRODUCT.model_copy(update=told)


def disturbed(count: int) -> list[RecallWeights]:
    """Every weight moved by at most SHARE of it, each on its own; always the same draws."""
    chance = random.Random(SEED)
    return [
        PRODUCT.model_copy(
            update={
                name: value * chance.uniform(1 - SHARE, 1 + SHARE) for name, value in PRODUCT if name != "repetition"
            }
        )
        for _ in range(count)
    ]


def left_out() -> dict[str, RecallWeights]:
    """By name: the product, then the product without each of its parts."""
    methods = {PRODUCT_NAME: PRODUCT}
    for names in (*TOGETHER, *((name,) for name in ALONE)):
        methods[f"without {', '.join(names)}"] = without(*names)
    return methods


class _Asking:
    """One question of a case, by plain means: as it was asked, or as the product reads it."""

    def __init__(self, runs: Runs, case: Case, *, read: bool) -> None:
        question = runs.evidence(case, LIMIT).question
        self.terms = question.terms if read else terms_of(case.asked.text)
        self.text = question.text if read else case.asked.text
        self.plain = runs.plain(case)

    def bm25(self) -> Values:
        return self.plain.bm25(self.terms)

    def cosine(self) -> Values:
        return self.plain.cosine(self.text)

    def fused(self, fusion: Fusion) -> Values:
        return fusion(self.bm25(), self.cosine())


_PLAIN: Mapping[str, Callable[[_Asking], Values]] = {
    "BM25": _Asking.bm25,
    "cosine": _Asking.cosine,
    "reciprocal rank fusion of both": lambda asking: asking.fused(reciprocal_ranks),
    "convex sum of both": lambda asking: asking.fused(convex),
}


def _plainly(runs: Runs, score: Callable[[_Asking], Values], *, read: bool) -> Judged:
    def ranked(case: Case) -> list[str]:
        turns = runs.memory(case).turns
        return [turns[place].id for place in order(score(_Asking(runs, case, read=read)))]

    return [(case.asked.kind, judge(ranked(case), case.asked.gold)) for case in runs.cases]


def by_product(runs: Runs, weights: RecallWeights, *, limit: int = LIMIT, merged: bool = False) -> Judged:
    """Each question, ranked by the product with these weights."""
    return [
        (case.asked.kind, judge(runs.memory(case, merged=merged).best(evidence, weights), case.asked.gold))
        for case, evidence in ((case, runs.evidence(case, limit, merged=merged)) for case in runs.cases)
    ]


Rows = Iterator[tuple[str, Scores]]


def methods(runs: Runs, draws: int) -> Rows:
    """Plain means, as the question was asked and as the product reads it; then the product."""
    for read, how in ((False, "as asked"), (True, "question read")):
        for name, score in _PLAIN.items():
            yield f"{name}, {how}", by_kind(_plainly(runs, score, read=read))
    yield PRODUCT_NAME, by_kind(by_product(runs, PRODUCT))


def parts(runs: Runs, draws: int) -> Rows:
    """The product, and what it is without each part."""
    for name, weights in left_out().items():
        yield name, by_kind(by_product(runs, weights))


def weights(runs: Runs, draws: int) -> Rows:
    """Nothing fitted, and the weights disturbed."""
    yield PRODUCT_NAME, by_kind(by_product(runs, PRODUCT))
    yield "all weights equal", by_kind(by_product(runs, equal()))
    yield f"all equal but {' and '.join(TIE_BREAKERS)}", by_kind(by_product(runs, equal(*TIE_BREAKERS)))
    drawn = [by_kind(by_product(runs, one)) for one in disturbed(draws)]
    yield f"weights ±{SHARE:.0%}, worst of {draws}", worst(drawn)


def sizes(runs: Runs, draws: int) -> Rows:
    """More to find it among, and fewer candidates."""
    for limit in LIMITS:
        yield f"{limit} candidates by each kind", by_kind(by_product(runs, PRODUCT, limit=limit))
    yield "all conversations in one memory", by_kind(by_product(runs, PRODUCT, merged=True))


TABLES: Mapping[str, Callable[[Runs, int], Rows]] = {
    "methods": methods,
    "parts": parts,
    "weights": weights,
    "sizes": sizes,
    "tried": tried,
}


def named(tables: Sequence[str], runs: Runs, draws: int) -> Iterator[tuple[str, dict[str, Scores]]]:
    """Each table that is wanted, measured."""
    for name in tables:
        if name in TABLES:
            yield name, dict(TABLES[name](runs, draws))
