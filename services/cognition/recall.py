"""Ranking what persistence found: a weighted sum of evidence, each part between 0 and 1. Pure.

A convex combination of scaled scores beats rank fusion and is little sensitive to how they are scaled (Bruch, Gai &
Ingber 2023, arXiv:2210.11934). The parts, and what each is worth, are measured in ``docs/memory.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.recall import Candidates
from libs.shared.contracts.runtime_settings import RecallWeights
from libs.shared.extractive import is_extractive
from libs.shared.recall_sums import NO_PLACE, factors, lifted
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
_LONG_WORDS = 60
_LENGTHS = tuple(math.log1p(n) / math.log1p(_LONG_WORDS) for n in range(_LONG_WORDS + 1))

Columns = dict[str, list[float]]
"""By part, a value a candidate."""


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


class Ranked(NamedTuple):
    """A candidate with its score in 0..1, and how much speaks for it."""

    found: Found
    score: float
    evidence: float
    """0..1, by terms and by meaning, comparable between questions."""
    columns: Columns
    place: int
    superseding: float = 0.0
    """What it was lifted by, above what it supersedes."""
    until: float | None = None
    """Seconds since 1970 at which another memory told otherwise."""

    @property
    def parts(self) -> dict[str, float]:
        """The weighted parts that the score is the sum of (a score is never below 0)."""
        parts = {name: values[self.place] for name, values in self.columns.items()}
        return parts | {"superseding": self.superseding} if self.superseding else parts


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
    parts = factors(dict(weights), applying(found, question))
    columns = _weighted(_columns(found, question, now), parts)
    sums = [sum(row) for row in zip(*columns.values(), strict=True)] if columns else [0.0] * len(found)
    scores = [max(0.0, total) for total in sums]
    if not question.past:
        scores = lifted(scores, [f.newer for f in found])
    ranked = []
    for place, (f, score, total) in enumerate(zip(found, scores, sums, strict=True)):
        lift = score - total if score > max(0.0, total) else 0.0
        until = found[f.newer].at if f.newer != NO_PLACE else None
        ranked.append(Ranked(f, score, evidence_for(f, whole), columns, place, lift, until))
    return sorted(ranked, key=best_first)


def best_first(one: Ranked) -> tuple[float, float, int, str]:
    """Of equals the newer first; ordinal or id settles the rest."""
    found = one.found
    return (-one.score, -found.at, -found.ordinal, found.fresh.id if found.fresh else "")


def applying(found: Sequence[Found], question: Question) -> frozenset[str]:
    """The parts that this question, asked of these, has; ``repetition`` is none, since it needs the texts."""
    has = {
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
    return frozenset(name for name in RecallWeights.model_fields if has.get(name, True))


def unweighted(found: Sequence[Found], question: Question, now: float) -> Columns:
    """Every part that the question has, as it is before any weight."""
    made = _columns(found, question, now)
    return {name: made[name]() for name in sorted(applying(found, question))}


def _columns(found: Sequence[Found], question: Question, now: float) -> dict[str, Callable[[], list[float]]]:
    """How each part comes about, unweighted; only those that the question has are made."""
    lexical = _scaled([f.bm25 for f in found], 0.0)
    dense = _dense(found, lexical)
    episodes = _episodes(found)
    alone = question.named if len(question.named) == 1 else frozenset[str]()
    return {
        "terms": lambda: lexical,
        "meaning": lambda: dense,
        "episode_terms": lambda: _best(episodes, lexical),
        "episode_meaning": lambda: _best(episodes, dense),
        "speaker": lambda: [1.0 if f.speaker in alone else 0.0 for f in found],
        "subject": lambda: [1.0 if f.speaker == question.subject else 0.0 for f in found],
        "length": lambda: [_LENGTHS[f.words] if f.words < _LONG_WORDS else 1.0 for f in found],
        "asks": lambda: [1.0 if f.traits & ASKS else 0.0 for f in found],
        "time_told": lambda: [1.0 if f.traits & TELLS_TIME else 0.0 for f in found],
        "time": lambda: [max(time.nearness(f.at) for time in question.times) for f in found],
        "number": lambda: [1.0 if f.traits & HAS_NUMBER else 0.0 for f in found],
        "name": lambda: [names_in(f.traits) / NAMES_MOST for f in found],
        "strength": lambda: [strength(f.at, f.used_at, f.uses, f.importance, pinned=f.pinned, now=now) for f in found],
        "importance": lambda: [f.importance for f in found],
    }


def _weighted(made: Mapping[str, Callable[[], list[float]]], by: Mapping[str, float]) -> Columns:
    return {name: [factor * value for value in made[name]()] for name, factor in by.items()}


def _dense(found: Sequence[Found], lexical: Sequence[float]) -> list[float]:
    """What has no vector yet is taken to mean as much as its words say."""
    known = _scaled([f.cosine or 0.0 for f in found], LEAST_COSINE)
    return [own if f.cosine is not None else words for f, own, words in zip(found, known, lexical, strict=True)]


def evidence_for(f: Found, whole: float) -> float:
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


def _best(episodes: Sequence[int], values: Sequence[float]) -> list[float]:
    """For each candidate the best of its episode."""
    best: dict[int, float] = {}
    for episode, value in zip(episodes, values, strict=True):
        if value > best.get(episode, -1.0):
            best[episode] = value
    return [best[episode] for episode in episodes]


def _scaled(values: Sequence[float], low: float) -> list[float]:
    high = max(values, default=0.0)
    if high <= low:
        return [0.0] * len(values)
    return [min(1.0, (value - low) / (high - low)) if value > low else 0.0 for value in values]


def moment(at: float) -> datetime:
    """Seconds since 1970 as UTC."""
    return datetime.fromtimestamp(at, UTC)
