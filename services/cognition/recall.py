"""Ranking what persistence found: the convex sum of scaled BM25 and cosine. Pure.

Bruch, Gai & Ingber 2023 (arXiv:2210.11934) find the convex combination of scaled scores better than reciprocal rank
fusion, and little sensitive to how they are scaled; the baselines on LoCoMo agree (0.751 against 0.667). What was said
a moment ago and isn't indexed yet has its own words for evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from libs.shared.contracts.ledger import RuntimeSettings
from libs.shared.contracts.memory import Candidate
from libs.shared.extractive import is_extractive
from libs.shared.text import terms

LEAST_COSINE = 0.1
"""At or below it two sentences have nothing to do with each other, so it is where the scale of cosines begins."""
FRESH_CHARACTERS = 4000
"""Of a message that isn't indexed yet, the beginning is searched for the question's terms."""


@dataclass(frozen=True)
class Hit:
    """A candidate with its score in 0..1 and the parts that it is the sum of."""

    candidate: Candidate
    score: float
    parts: dict[str, float]


def fuse(
    candidates: Iterable[Candidate], settings: RuntimeSettings, least_score: float, asked: Collection[str] = ()
) -> tuple[Hit, ...]:
    """The hits at or above the least score, best first; the order of the candidates does not matter.

    Without any vector evidence the terms have the whole weight, and the other way round. ``asked`` are the question's
    terms.
    """
    every = [c for c in candidates if not is_extractive(c.text)]
    found = [c for c in every if c.indexed]
    best_bm25 = max((c.bm25 or 0.0 for c in found), default=0.0)
    best_cosine = max((c.cosine or 0.0 for c in found), default=0.0)
    alpha = settings.recall_lexical_weight
    if all(c.cosine is None for c in found):
        alpha = 1.0
    elif all(c.bm25 is None for c in found):
        alpha = 0.0
    hits = [_hit(c, alpha, best_bm25, best_cosine) for c in found]
    hits += [_fresh_hit(c, frozenset(asked)) for c in every if not c.indexed]
    kept = [hit for hit in hits if hit.score > 0 and hit.score >= least_score]
    return tuple(sorted(kept, key=_best_first))


def _hit(candidate: Candidate, alpha: float, best_bm25: float, best_cosine: float) -> Hit:
    lexical = alpha * _scaled(candidate.bm25, 0.0, best_bm25)
    dense = (1 - alpha) * _scaled(candidate.cosine, LEAST_COSINE, best_cosine)
    return Hit(candidate, lexical + dense, {"lexical": lexical, "dense": dense})


def _fresh_hit(candidate: Candidate, asked: frozenset[str]) -> Hit:
    """The share of the question's terms that the message contains: how rare each is, only the index knows."""
    share = len(asked.intersection(terms(candidate.text[:FRESH_CHARACTERS]))) / len(asked) if asked else 0.0
    return Hit(candidate, share, {"fresh": share})


def distinct(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """The best hit of each text, in the same order: repeating what was said twice tells a reader nothing."""
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(" ".join(hit.candidate.text.split()).casefold(), hit)
    return tuple(best.values())


def _scaled(value: float | None, low: float, high: float) -> float:
    if value is None or value <= low or high <= low:
        return 0.0
    return min(1.0, (value - low) / (high - low))


def _best_first(hit: Hit) -> tuple[float, float, str]:
    """Of equals the newer first; the id settles the rest."""
    return (-hit.score, -hit.candidate.at.timestamp(), hit.candidate.message_id)
