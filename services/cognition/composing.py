"""A context put together of sentences: those of the best memories' digests that answer best, within a budget. Pure.

A memory costs its whole length and mostly tells one thing: so sentences compete instead, by how well their memory
was found and by what they say themselves. What was said since the last night has no digest and stands as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby
from operator import attrgetter, mul

from libs.shared.contracts.digests import Digest
from libs.shared.contracts.memory import MemoryItem, MemoryKind
from libs.shared.dates import written_day
from libs.shared.text import Language, language, terms
from services.cognition.question import Question
from services.cognition.retelling import ended, other_days, told_again, told_until
from services.cognition.selection import BYTES_PER_TOKEN, Hit
from services.cognition.telling_apart import tells_apart
from services.cognition.traits import NAMES_MOST, TELLS_TIME, names_in, traits_of

POOL = 40
"""Memories whose sentences compete."""
ALIKE = 0.6
"""Two sentences whose terms overlap so much (Jaccard) tell the same: the better one stands."""
PEOPLE = {"user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class Weights:
    """What speaks for a sentence; fitted to which sentences held answers (``docs/decisions/digests.md``)."""

    place: float = 2.4
    """Of one over its memory's place."""
    share: float = 1.45
    """Of the third power of its memory's score, the best one's being 1."""
    meaning: float = 1.45
    """Of its own cosine with the question."""
    beside: float = 0.7
    """Of the best cosine within its memory."""
    length: float = 1.0
    """Of the logarithm of its different terms."""
    names: float = 1.0
    """Of the proper names in it, twice where the question asks for one."""
    time: float = 0.7
    """Where it tells a time and the question asks for one."""


WEIGHTS = Weights()


@dataclass(frozen=True)
class Sentence:
    """One that may stand in the context."""

    text: str
    item: MemoryItem
    place: int
    """Within its memory."""
    value: float
    hit: int
    """Its memory's place among the hits."""
    terms: frozenset[str] = field(default_factory=frozenset)
    key: bytes = b""
    """Of what it tells; empty: it is merged with nothing."""
    said: str = ""
    """As its digest has it, without what is noted behind it."""
    until: date | None = None
    """When it ceased to hold."""
    retold: tuple[str, ...] = ()
    """Other memories that tell the same."""


def composed(
    hits: Sequence[Hit],
    digests: Mapping[str, Digest],
    question: Question,
    vector: bytes | None,
    *,
    tokens: int,
    most: int,
) -> tuple[MemoryItem, ...]:
    """At most ``most`` items of at most so many estimated tokens together, best first: for each conversation and day
    one, of whole sentences in the order in which they were said. ``vector`` is the question's, float32."""
    code = language(question.text)
    found = merged(sentences(pooled(hits, digests), digests, question, vector), code)
    chosen = fitting(sorted(found, key=_order), tokens, most, code)
    groups: dict[tuple[str, date, int | None], list[Sentence]] = {}
    for one in chosen:
        groups.setdefault(_group(one.item), []).append(one)
    return tuple(_item(told, hits, code) for told in groups.values())


def sentences(
    hits: Sequence[Hit], digests: Mapping[str, Digest], question: Question, vector: bytes | None
) -> list[Sentence]:
    """Every sentence of these memories' digests, and whole memories that have none, each with its value."""
    asked, code = _floats(vector), language(question.text)
    best = max((hit.item.score for hit in hits), default=0.0) or 1.0
    found: list[Sentence] = []
    for place, hit in enumerate(hits):
        digest = digests.get(hit.item.id)
        told = (" ".join(hit.item.text.split()),) if digest is None else digest.sentences
        cosines = _cosines(digest, asked) or [hit.evidence] * len(told)
        nearest = max(cosines, default=0.0)
        for number, (text, cosine) in enumerate(zip(told, cosines, strict=True)):
            said = frozenset(terms(text))
            value = _value(text, said, place, hit.item.score / best, cosine, nearest, question)
            end = ended(hit, said, alone=len(told) == 1)
            key = b"" if digest is None or end is not None else digest.key_of(number)
            noted = told_until(text, end, code)
            found.append(Sentence(noted, hit.item, number, value, place, said, key, text, end))
    return found


def pooled(hits: Sequence[Hit], digests: Mapping[str, Digest]) -> list[Hit]:
    """The best POOL memories, and between them those that tell only what a better one told, which take no place."""
    pool: list[Hit] = []
    seen: set[bytes] = set()
    left = POOL
    for hit in hits:
        keys = _keys(digests.get(hit.item.id)) if hit.until is None else frozenset()
        left -= not keys or not keys <= seen
        if left < 0:
            break
        pool.append(hit)
        seen |= keys
    return pool


def _keys(digest: Digest | None) -> frozenset[bytes]:
    """Of what it tells; none where there are none, or one is missing."""
    keys = frozenset(map(digest.key_of, range(len(digest.sentences)))) if digest is not None else frozenset()
    return frozenset() if b"" in keys else keys


def merged(found: Sequence[Sentence], code: Language) -> list[Sentence]:
    """What several memories tell alike is told once, by the best of these sentences, with the days of the others."""
    tellings: dict[bytes, list[Sentence]] = {}
    for one in found:
        if one.key:
            tellings.setdefault(one.key, []).append(one)
    alone = [one for one in found if len(tellings.get(one.key, ())) < 2]
    return alone + [_represented(told, code) for told in tellings.values() if len(told) > 1]


def _represented(told: Sequence[Sentence], code: Language) -> Sentence:
    best, *others = sorted(told, key=_order)
    if best.item.kind is MemoryKind.PASSAGE:
        return best
    days = other_days(best.item.at.date(), (one.item.at.date() for one in others))
    retold = tuple(dict.fromkeys(one.item.id for one in others if one.item.id != best.item.id))
    return replace(best, text=told_again(best.text, days, code), retold=retold)


def _order(one: Sentence) -> tuple[float, int, int]:
    return -one.value, one.hit, one.place


def _value(
    text: str, said: frozenset[str], place: int, share: float, cosine: float, nearest: float, question: Question
) -> float:
    traits = traits_of(text)
    names = names_in(traits) / NAMES_MOST * (2 if question.wants_name else 1)
    return (
        WEIGHTS.place / (1 + place)
        + WEIGHTS.share * share**3
        + WEIGHTS.meaning * cosine
        + WEIGHTS.beside * nearest
        + WEIGHTS.length * math.log1p(len(said)) / 3
        + WEIGHTS.names * names
        + WEIGHTS.time * bool(question.wants_time and traits & TELLS_TIME)
    )


def fitting(ranked: Sequence[Sentence], tokens: int, most: int, code: Language) -> list[Sentence]:
    """The best that fit together with their headings; of those that tell the same, the first."""
    chosen: list[Sentence] = []
    groups: set[tuple[str, date, int | None]] = set()
    told: set[str] = set()
    left = float(tokens * BYTES_PER_TOKEN)
    for one in ranked:
        group = _group(one.item)
        if (group not in groups and len(groups) >= most) or any(_alike(one, other) for other in chosen):
            continue
        cost = _bytes(one.text) + 1.0
        if group not in groups:
            cost += _bytes(_heading(one.item, code)) + 1 + BYTES_PER_TOKEN  # each item's estimate is rounded up
        if one.item.id not in told:
            cost += _bytes(_speaker(one.item))
        if cost > left:
            continue
        left -= cost
        groups.add(group)
        told.add(one.item.id)
        chosen.append(one)
    return chosen


def _alike(one: Sentence, other: Sentence) -> bool:
    """Hardly another word; a number, a name or a "not" is one that counts, and so is an end."""
    common = len(one.terms & other.terms)
    alike = common > 0 and common >= ALIKE * (len(one.terms) + len(other.terms) - common)
    return alike and one.until == other.until and not tells_apart(one.said, other.said)


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))


def _group(item: MemoryItem) -> tuple[str, date, int | None]:
    """What stands under one heading: a day of a conversation, or a page of a document."""
    return item.conversation_id, item.at.date(), item.page


def _heading(item: MemoryItem, code: Language) -> str:
    if item.kind is MemoryKind.PASSAGE and item.title:
        page = f", p. {item.page}" if item.page is not None else ""
        return f"{item.title}{page}."
    return f"{written_day(item.at, code)}."


def _speaker(item: MemoryItem) -> str:
    """Before what somebody said; a document has none."""
    return "" if item.kind is MemoryKind.PASSAGE else f"{PEOPLE.get(item.speaker, item.speaker)}: "


def _item(chosen: Sequence[Sentence], hits: Sequence[Hit], code: Language) -> MemoryItem:
    """One item of sentences that stand under one heading; ``chosen`` are best first."""
    best = min(chosen, key=attrgetter("hit")).item
    ordered = sorted(chosen, key=lambda one: (one.item.at, one.item.id, one.place))
    lines = [_heading(best, code)]
    before = None
    for _, said in groupby(ordered, key=lambda one: one.item.id):
        together = list(said)
        speaker = _speaker(together[0].item)
        lines.append(("" if speaker == before else speaker) + " ".join(one.text for one in together))
        before = speaker
    sources = tuple(dict.fromkeys(one.item.id for one in ordered))
    retold = tuple(dict.fromkeys(name for one in ordered for name in one.retold))
    told = {"text": " ".join(lines), "digest": True, "sources": sources, "retold": retold, "facts": ()}
    return best.model_copy(update=told)


def _floats(vector: bytes | None) -> list[float]:
    """A question's vector, as a list of length 1 (its norm)."""
    if not vector:
        return []
    values = memoryview(vector).cast("f").tolist()
    norm = math.sqrt(sum(map(mul, values, values))) or 1.0
    return [value / norm for value in values]


def _cosines(digest: Digest | None, asked: Sequence[float]) -> list[float]:
    """Of each sentence with the question; none where either has no vector."""
    if digest is None or not digest.sentences or not asked or len(digest.vectors) != len(asked) * len(digest.sentences):
        return []
    rows = memoryview(digest.vectors).cast("b")
    return [_cosine(rows[start : start + len(asked)].tolist(), asked) for start in range(0, len(rows), len(asked))]


def _cosine(row: Sequence[int], asked: Sequence[float]) -> float:
    norm = math.sqrt(sum(map(mul, row, row)))
    return sum(map(mul, row, asked)) / norm if norm else 0.0
