"""The product's own recall without its services: its index in memory, its reading of questions, its ranking.

What is left out: facts, and with them what one memory supersedes of another; what was said a moment ago; how often a
memory was used. A time that hangs on an event is placed by the weights that the product has, whichever are measured.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bench.locomo.data import Turn
from bench.locomo.scores import K
from bench.locomo.vectors import Vectors
from libs.shared.contracts.memory import MemoryItem, MemoryKind
from libs.shared.contracts.recall import FindCandidates
from libs.shared.contracts.runtime_settings import RecallWeights
from services.cognition.memory import EVENT_CANDIDATES, LEAST_EVENT_EVIDENCE, day_of, intervals
from services.cognition.question import Names, Question, read
from services.cognition.recall import Found, Ranked, found_in, rank
from services.cognition.replaying.evidence import as_it_was
from services.cognition.searchable import Text, row
from services.cognition.selection import Hit, spread_out
from services.persistence.additions import Addition, term_rows, vector_rows
from services.persistence.candidates import Asked, candidates, search
from services.persistence.memory_index import MemoryIndex
from services.persistence.repositories.segments import Owned
from services.persistence.sealing import UserKeys
from services.persistence.segments import TERM_BYTES

NOW = datetime(2026, 11, 22, tzinfo=UTC)
"""The asker's clock, years after all that was said."""
PRODUCT = RecallWeights()
SPARE = K // 2 + 4
"""More texts that a search reads than it shows."""
_USER = UserKeys(bytes(32))


@dataclass(frozen=True)
class Evidence:
    """A question with all that was found for it, to be ranked by any weights."""

    question: Question
    found: Sequence[Found]
    whole: float

    def ranked(self, weights: RecallWeights) -> list[Ranked]:
        return rank(self.found, self.question, weights, NOW.timestamp(), self.whole)


class OfflineMemory:
    """Turns of one user, indexed as they would be."""

    def __init__(self, turns: Sequence[Turn], vectors: Vectors, embedded: Sequence[str] | None = None) -> None:
        """``embedded``: what to embed of each turn, if it isn't its text."""
        self.turns = turns
        self._vectors = vectors
        self.names = Names(name for name, _ in Counter(turn.speaker for turn in turns).most_common())
        self._items = [_item(turn) for turn in turns]
        texts = [turn.text for turn in turns] if embedded is None else embedded
        made = vectors.of(texts)
        self._index = asyncio.run(_indexed(turns, [made[text] for text in texts], vectors.embedder))

    def evidence(self, question: str, limit: int) -> Evidence:
        """What is found for a question, at most ``limit`` by each kind of evidence."""
        return self._found(self._placed(read(question, self.names, NOW)), limit)

    def found(self, evidence: Evidence) -> tuple[list[Found], list[MemoryItem]]:
        """What was found as it would be replayed, with the items."""
        items = dict(enumerate(self._items))
        found = as_it_was(evidence.found, items, "", NOW.timestamp())
        return found, [items[one.ordinal] for one in found]

    def best(self, evidence: Evidence, weights: RecallWeights) -> list[str]:
        """The ids that a search shows, best first."""
        ranked = [one for one in evidence.ranked(weights) if one.score > 0][: K + SPARE]
        hits = spread_out([self._hit(one) for one in ranked], weights.repetition, past=evidence.question.past)
        return [hit.item.id for hit in hits[:K]]

    def hits(self, evidence: Evidence, weights: RecallWeights, most: int) -> tuple[Hit, ...]:
        """What a search of so many brings, best first; more are read, as the product does, since some repeat others."""
        wanted = most + most // 2 + 4
        ranked = [one for one in evidence.ranked(weights) if one.score > 0][: wanted + wanted // 2 + 4]
        hits = [self._hit(one) for one in ranked]
        return spread_out(hits, weights.repetition, past=evidence.question.past)

    def _placed(self, question: Question) -> Question:
        if question.anchor is None:
            return question
        event = replace(read(question.anchor.event, self.names, NOW), anchor=None)
        ranked = self._found(event, EVENT_CANDIDATES).ranked(PRODUCT)
        told = [one for one in ranked if one.score > 0 and one.evidence >= LEAST_EVENT_EVIDENCE]
        return question.at(question.anchor.time(day_of(self._hit(told[0]), NOW))) if told else question

    def _found(self, question: Question, limit: int) -> Evidence:
        request = FindCandidates(
            user_id="user",
            terms=question.terms,
            vector=self._vectors.of([question.text], "query")[question.text],
            embedder=self._vectors.embedder,
            limit=limit,
            intervals=intervals(question.times, NOW.timestamp()),
        )
        asked = Asked.of(request, [_number(term) for term in question.terms])
        columns = candidates(self._index, search(self._index, asked), ())
        return Evidence(question, found_in(columns, question.terms), columns.whole_bm25)

    def _hit(self, one: Ranked) -> Hit:
        item = self._items[one.found.ordinal]
        return Hit(item.model_copy(update={"score": one.score, "parts": one.parts}), one.evidence)


async def _indexed(turns: Sequence[Turn], vectors: Sequence[bytes], embedder: str) -> MemoryIndex:
    texts = [Text(turn.id, MemoryKind.MESSAGE, turn.speaker, turn.text, turn.at) for turn in turns]
    rows = [row(text, vector) for text, vector in zip(texts, vectors, strict=True)]
    addition = Addition("user", embedder, rows)
    owned = {turn.id: _owned(place, turn) for place, turn in enumerate(turns)}
    index = MemoryIndex()
    index.reserve(len(turns))
    index.add(await term_rows(addition, owned, _USER), vector_rows(addition, owned), embedder)
    return index


def _owned(place: int, turn: Turn) -> Owned:
    return Owned(turn.id, place, turn.session, turn.at.timestamp(), None, False, False, False, True)


def _item(turn: Turn) -> MemoryItem:
    return MemoryItem(
        id=turn.id,
        text=turn.text,
        source_id=turn.id,
        conversation_id=turn.session,
        speaker=turn.speaker,
        at=turn.at,
    )


def _number(term: str) -> int:
    return int.from_bytes(_USER.hash_term(term)[:TERM_BYTES], "little")
