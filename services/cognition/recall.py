"""Ranking what persistence found: a weighted sum of evidence, each part between 0 and 1. Pure.

A convex combination of scaled scores beats rank fusion and is little sensitive to how they are scaled (Bruch, Gai &
Ingber 2023, arXiv:2210.11934). The parts, and what each is worth, are measured in ``docs/memory.md``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from libs.shared.contracts.ledger import RecallWeights
from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.recall import Candidates
from libs.shared.extractive import is_extractive
from libs.shared.text import terms
from services.cognition.question import Question
from services.cognition.strength import strength
from services.cognition.traits import ASKS, HAS_NUMBER, NAMES_MOST, TELLS_TIME, importance_of, names_in, traits_of

LEAST_COSINE = 0.1
"""At or below it two sentences have nothing to do with each other, so it is where the scale of cosines begins."""
EPISODE_S = 6 * 3600.0
"""A longer silence within a conversation begins another episode."""
FRESH_CHARACTERS = 4000
"""Of a memory that isn't indexed yet, the beginning is searched for the question's terms."""
NO_PLACE = -1
ABOVE = 1e-6
"""By so much a memory is lifted above the one that it supersedes."""
_LONG_WORDS = 60
_LENGTHS = tuple(math.log1p(n) / math.log1p(_LONG_WORDS) for n in range(_LONG_WORDS + 1))

Parts = dict[str, float]


class Found(NamedTuple):
    """A candidate as it is ranked: the evidence for it, and what is known of it without its text."""

    ordinal: int
    """NO_PLACE for what isn't indexed yet."""
    conversation: int
    speaker: str
    at: float
    words: int
    traits: int
    importance: float
    bm25: float
    cosine: float | None
    uses: int = 0
    used_at: float = 0.0
    pinned: bool = False
    newer: int = NO_PLACE
    """The place of what tells otherwise since then."""
    fresh: MemoryItem | None = None


@dataclass(frozen=True)
class Ranked:
    """A candidate with its score in 0..1, the weighted parts that it is the sum of, and how much speaks for it."""

    found: Found
    score: float
    parts: Parts
    evidence: float
    """0..1, by terms or by meaning, comparable between questions."""
    until: float | None = None
    """Seconds since 1970 at which another memory told otherwise."""


def found_in(candidates: Candidates, asked: Collection[str]) -> list[Found]:
    """The rows of the columns, and after them what isn't indexed yet: that has its own words for evidence.

    ``asked`` are the question's terms. Quotations of memories are left out: they are none.
    """
    names = candidates.names
    rows = zip(
        candidates.ordinals,
        candidates.conversations,
        (names[speaker] for speaker in candidates.speakers),
        candidates.at,
        candidates.words,
        candidates.traits,
        candidates.importance,
        candidates.bm25,
        candidates.cosine,
        candidates.uses,
        candidates.used_at,
        candidates.pinned,
        candidates.newer,
        strict=True,
    )
    found = [Found(*row) for row in rows]
    whole = candidates.whole_bm25 or max(candidates.bm25, default=0.0) or 1.0
    wanted = frozenset(asked)
    found += [_fresh(item, wanted, whole) for item in candidates.fresh if not is_extractive(item.text)]
    return found


def _fresh(item: MemoryItem, asked: frozenset[str], whole: float) -> Found:
    said = item.text[:FRESH_CHARACTERS]
    share = len(asked.intersection(terms(said))) / len(asked) if asked else 0.0
    importance = item.importance or importance_of(said, item.speaker)
    at = item.at.timestamp()
    words = said.count(" ") + 1
    fresh = Found(NO_PLACE, NO_PLACE, item.speaker, at, words, traits_of(said), importance, share * whole, None)
    return fresh._replace(pinned=item.pinned, fresh=item)


def rank(found: Sequence[Found], question: Question, weights: RecallWeights, now: float, whole: float) -> list[Ranked]:
    """Best first, of equals the newer; the order of what was found does not matter.

    ``whole`` is what a turn with every term of the question would score by BM25. Unless the question is about the past,
    what is superseded never stands above what supersedes it.
    """
    parts = _parts(found, question, now)
    factors = _factors(found, question, weights)
    weighted = [{name: factor * one[name] for name, factor in factors.items()} for one in parts]
    scores = [max(0.0, sum(one.values())) for one in weighted]
    if not question.past:
        for place, score in enumerate(lifted(scores, [f.newer for f in found])):
            if score > scores[place]:
                weighted[place]["superseding"] = score - sum(weighted[place].values())
                scores[place] = score
    ranked = [
        Ranked(f, score, one, _evidence(f, whole), found[f.newer].at if f.newer != NO_PLACE else None)
        for f, score, one in zip(found, scores, weighted, strict=True)
    ]
    return sorted(ranked, key=best_first)


def best_first(one: Ranked) -> tuple[float, float, int, str]:
    """Of equals the newer first; ordinal or id settles the rest."""
    found = one.found
    return (-one.score, -found.at, -found.ordinal, found.fresh.id if found.fresh else "")


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


def _factors(found: Sequence[Found], question: Question, weights: RecallWeights) -> Parts:
    """The weights of the parts that this question has, such that a memory with all of them scores 1."""
    applying = {
        "meaning": any(f.cosine is not None for f in found),
        "episode_meaning": any(f.cosine is not None for f in found),
        "terms": bool(question.terms),
        "episode_terms": bool(question.terms),
        "speaker": len(question.named) == 1,
        "subject": question.subject is not None,
        "time": bool(question.times),
        "time_told": question.wants_time,
        "number": question.wants_number,
        "name": question.wants_name,
        "repetition": False,
    }
    wanted = {name: float(value) for name, value in weights if value and applying.get(name, True)}
    most = sum(value for value in wanted.values() if value > 0) or 1.0
    return {name: value / most for name, value in wanted.items()}


def _parts(found: Sequence[Found], question: Question, now: float) -> list[Parts]:
    lexical = _scaled([f.bm25 for f in found], 0.0)
    cosines = [f.cosine for f in found]
    known = _scaled([c or 0.0 for c in cosines], LEAST_COSINE)
    # what has no vector yet is taken to mean as much as its words say
    dense = [own if c is not None else words for own, c, words in zip(known, cosines, lexical, strict=True)]
    episodes = _episodes(found)
    best_terms, best_meaning = _best(episodes, lexical), _best(episodes, dense)
    times = question.times
    alone = question.named if len(question.named) == 1 else frozenset[str]()
    return [
        {
            "terms": lexical[place],
            "meaning": dense[place],
            "episode_terms": best_terms[episodes[place]],
            "episode_meaning": best_meaning[episodes[place]],
            "speaker": 1.0 if f.speaker in alone else 0.0,
            "subject": 1.0 if f.speaker == question.subject else 0.0,
            "length": _LENGTHS[min(f.words, _LONG_WORDS)],
            "asks": 1.0 if f.traits & ASKS else 0.0,
            "time_told": 1.0 if f.traits & TELLS_TIME else 0.0,
            "time": max(time.nearness(f.at) for time in times) if times else 0.0,
            "number": 1.0 if f.traits & HAS_NUMBER else 0.0,
            "name": names_in(f.traits) / NAMES_MOST,
            "strength": strength(f.at, f.used_at, f.uses, f.importance, pinned=f.pinned, now=now),
            "importance": f.importance,
        }
        for place, f in enumerate(found)
    ]


def _evidence(f: Found, whole: float) -> float:
    """Either kind may speak for it, and both say more than one: the probabilistic sum of the two."""
    by_terms = min(1.0, f.bm25 / whole) if whole > 0 else 0.0
    by_meaning = min(1.0, max(0.0, ((f.cosine or 0.0) - LEAST_COSINE) / (1 - LEAST_COSINE)))
    return by_terms + by_meaning - by_terms * by_meaning


def _episodes(found: Sequence[Found]) -> list[int]:
    """Which candidates were said together: in one conversation, with no long silence between them."""
    order = sorted(range(len(found)), key=lambda place: (found[place].conversation, found[place].at))
    result = [0] * len(found)
    episode = 0
    for before, place in pairwise(order):
        one, other = found[before], found[place]
        apart = one.conversation != other.conversation or other.at - one.at > EPISODE_S
        episode += apart or other.conversation == NO_PLACE
        result[place] = episode
    return result


def _best(episodes: Iterable[int], values: Iterable[float]) -> dict[int, float]:
    best: dict[int, float] = {}
    for episode, value in zip(episodes, values, strict=True):
        best[episode] = max(best.get(episode, 0.0), value)
    return best


def _scaled(values: Sequence[float], low: float) -> list[float]:
    high = max(values, default=0.0)
    if high <= low:
        return [0.0] * len(values)
    return [min(1.0, (value - low) / (high - low)) if value > low else 0.0 for value in values]


def moment(at: float) -> datetime:
    """Seconds since 1970 as UTC."""
    return datetime.fromtimestamp(at, UTC)
