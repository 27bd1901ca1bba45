"""What of the ranked memories is handed on, once their texts are read: few repetitions, and no more than fits. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from libs.shared.contracts.memory import MemoryItem
from libs.shared.recall_sums import NO_PLACE, lifted
from libs.shared.text import terms

BYTES_PER_TOKEN = 3.5
"""Estimated, where no model says how it counts."""
ALIKE = 0.8
"""Two texts whose terms overlap so much (Jaccard) tell the same."""
COMPARED_CHARACTERS = 1000


@dataclass(frozen=True)
class Hit:
    """A recalled memory: its item has the score, and its parts."""

    item: MemoryItem
    evidence: float = 1.0
    """0..1, how much of the question is in it."""
    until: datetime | None = None
    """When another memory told otherwise."""
    told: str = ""
    """What it tells, by its digest: shorter, its times written out; empty where there is none."""


def spread_out(hits: Sequence[Hit], repetition: float, *, past: bool = False) -> tuple[Hit, ...]:
    """Best first again, where what tells the same as a better one has lost the share ``repetition`` of its score.

    What supersedes something is no repetition of it, and stays above it unless the question is about the past.
    """
    said = [frozenset(terms(hit.item.text[:COMPARED_CHARACTERS])) for hit in hits]
    places = {hit.item.id: place for place, hit in enumerate(hits)}
    newer = [places.get(hit.item.superseded_by or "", NO_PLACE) for hit in hits]
    lost = [repetition * _repeats(place, said, newer) * hit.item.score for place, hit in enumerate(hits)]
    scores = [hit.item.score - loss for hit, loss in zip(hits, lost, strict=True)]
    after = scores if past else lifted(scores, newer)
    changed = [
        _changed(hit, {"repetition": -loss, "superseding": score - before})
        for hit, loss, before, score in zip(hits, lost, scores, after, strict=True)
    ]
    order = sorted(range(len(hits)), key=lambda place: (-after[place], place))
    return tuple(changed[place] for place in order)


def _repeats(place: int, said: Sequence[frozenset[str]], newer: Sequence[int]) -> float:
    """How much a text is like a better one that it neither supersedes nor is superseded by; 0.0 below ALIKE."""
    own = said[place]
    alike = (
        jaccard(own, other)
        for before, other in enumerate(said[:place])
        if newer[place] != before and newer[before] != place
    )
    most = max(alike, default=0.0)
    return most if most >= ALIKE else 0.0


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of the terms of both that both have; 0.0 where their numbers alone say that it is below ALIKE."""
    less, more = sorted((len(one), len(other)))
    if less < ALIKE * more:
        return 0.0
    common = len(one & other)
    return common / max(1, less + more - common)


def _changed(hit: Hit, changes: dict[str, float]) -> Hit:
    """The hit with its score changed, each change told among the parts."""
    told = {name: change for name, change in changes.items() if change}
    if not told:
        return hit
    parts = hit.item.parts
    parts = {**parts, **{name: parts.get(name, 0.0) + change for name, change in told.items()}}
    score = hit.item.score + sum(told.values())
    return replace(hit, item=hit.item.model_copy(update={"score": score, "parts": parts}))


def distinct(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """The best hit of each text, in the same order: repeating what was said twice tells a reader nothing."""
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(" ".join(hit.item.text.split()).casefold(), hit)
    return tuple(best.values())


def within(hits: Iterable[Hit], tokens: int) -> tuple[Hit, ...]:
    """The best whose texts fit together into so many tokens: one that is too long leaves room for those behind it."""
    taken: list[Hit] = []
    for hit in hits:
        cost = tokens_of(hit.item.text)
        if cost <= tokens:
            taken.append(hit)
            tokens -= cost
    return tuple(taken)


def tokens_of(text: str) -> int:
    """Estimated."""
    return math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)
