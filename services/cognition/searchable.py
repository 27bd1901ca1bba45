"""Making kept texts searchable: terms, vectors and facts, written a batch at a time while the next is embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.indexing import INDEX_MESSAGES, IndexMessages, IndexRow, UnindexedMessage
from libs.shared.contracts.inference import EMBED
from libs.shared.contracts.keeping import KeptMemories
from libs.shared.contracts.memory import Fact, MemoryKind
from libs.shared.errors import Preempted, ServiceError, TimedOut
from libs.shared.extractive import is_extractive
from libs.shared.text import term_counts, words
from services.cognition.embedding import Embedder
from services.cognition.measuring import measured
from services.cognition.room import Berth
from services.cognition.stride import Stride
from services.cognition.traits import importance_of, traits_of

TEXT_CHARACTERS = 4000
"""Of a longer text the beginning is embedded: no embedder reads more."""
MOST_STOPPED = 3
"""A portion that was stopped for requests so often is made like one that somebody waits for, so that it is made."""
ASSISTANT = "assistant"

Draw = Callable[[str, Sequence["Text"]], Awaitable[tuple[Fact, ...]]]
"""Draws facts from a user's texts and keeps them; the same texts again change nothing."""


@dataclass(frozen=True)
class Text:
    """A kept memory, as it reads."""

    message_id: str
    kind: MemoryKind
    speaker: str
    text: str
    at: datetime
    importance: float | None = None
    """As the user set it."""
    version: int | None = None
    """Of the text; None: not known."""

    @property
    def memorable(self) -> bool:
        """Whether it may be recalled: a quotation of memories would only repeat them."""
        return bool(self.text.strip()) and not (self.speaker == ASSISTANT and is_extractive(self.text))


async def _never() -> None:
    """Nobody goes before it."""


@dataclass(frozen=True)
class Wanted:
    """What is to be made, and how."""

    user_id: str
    embedder: str | None = None
    """``name@version`` of the vectors; None: any."""
    vectors_alone: bool = False
    """Terms and facts are there already: another embedder takes over."""
    words_there: bool = False
    """Terms and facts were made before the vectors; only a text that was edited meanwhile may lack terms."""
    jobs: tuple[str, ...] = ()
    """They end with the last text."""
    background: bool = True
    """Nobody waits for it."""
    pause: Callable[[], Awaitable[None]] = _never
    """Before each portion: returns once it may go on."""
    stopped: Callable[[], None] = lambda: None
    """Told when a portion was stopped for a request, of which ``pause`` may not have heard yet."""
    berth: Berth = field(default_factory=Berth)
    """Where it is embedded first."""
    vectors_by: float | None = None
    """Monotonic time after which no more vectors are made."""


@dataclass
class Outcome:
    """What became of it: every text has its terms; those without vectors failed for ``failure``."""

    failure: ServiceError | None = None
    facts: list[Fact] = field(default_factory=list)


@dataclass
class _Vectors:
    """Of the first texts of a batch, as far as they were made."""

    embedder: str | None = None
    vectors: list[bytes] = field(default_factory=list)
    failure: ServiceError | None = None


@dataclass(frozen=True)
class Portions:
    """How many texts are embedded, and written, at a time."""

    embed: int
    write: int


def row(text: Text, vector: bytes | None) -> IndexRow:
    """Everything that is searched of a text. Pure."""
    judged = importance_of(text.text, text.speaker) if text.importance is None else text.importance
    return IndexRow(
        message_id=text.message_id,
        terms=term_counts(text.text),
        vector=vector,
        speaker=text.speaker,
        words=len(words(text.text)),
        traits=traits_of(text.text),
        importance=judged,
        version=text.version,
    )


def of_unindexed(message: UnindexedMessage) -> Text:
    """What a job asks for."""
    said = (message.message_id, message.kind, message.speaker, message.text, message.at)
    return Text(*said, importance=message.importance, version=message.version)


def of_kept(kept: KeptMemories) -> list[Text]:
    """What was kept just now; an importance that the user set stands in its state, not in the index."""
    versions = kept.versions or (None,) * len(kept.items)
    return [
        Text(item.id, item.kind, item.speaker, item.text, item.at, version=version)
        for item, version in zip(kept.items, versions, strict=True)
    ]


class Searchable:
    """Writes what a search needs. Idempotent: persistence replaces no row, and facts are told apart by their source."""

    def __init__(self, bus: Bus, embedder: Embedder, draw: Draw) -> None:
        self._bus = bus
        self._embedder = embedder
        self._draw = draw
        self._stride = Stride()

    async def make(self, texts: Sequence[Text], wanted: Wanted, portions: Portions) -> Outcome:
        """Raises what persistence raises; the embedder's refusal is told in the outcome."""
        memorable = [text for text in texts if text.memorable]
        batches = [memorable[i : i + portions.write] for i in range(0, len(memorable), portions.write)] or [[]]
        outcome = Outcome()
        vectors = _Vectors(wanted.embedder)
        ahead = asyncio.create_task(self._embed(batches[0], vectors, wanted, portions.embed))
        try:
            for number, batch in enumerate(batches):
                vectors = await ahead
                outcome.failure = vectors.failure
                last = number + 1 == len(batches)
                if not last:
                    ahead = asyncio.create_task(self._embed(batches[number + 1], vectors, wanted, portions.embed))
                await self._write(batch, vectors, wanted, outcome, ends=last and outcome.failure is None)
        finally:
            ahead.cancel()
            with suppress(asyncio.CancelledError):
                await ahead
        return outcome

    async def make_words(self, texts: Sequence[Text], wanted: Wanted, at_once: int) -> None:
        """Terms and facts alone: nothing is embedded. Raises what persistence raises."""
        memorable = [text for text in texts if text.memorable]
        for start in range(0, len(memorable), at_once):
            await self._write(memorable[start : start + at_once], _Vectors(), wanted, Outcome(), ends=False)

    async def _embed(self, texts: Sequence[Text], before: _Vectors, wanted: Wanted, at_once: int) -> _Vectors:
        """Vectors of ``texts``; after a failure no more are asked for."""
        made = _Vectors(before.embedder, failure=before.failure)
        left = [text.text[:TEXT_CHARACTERS] for text in texts]
        stopped = 0
        while left and made.failure is None:
            await wanted.pause()
            where = wanted.berth.replica
            count = self._stride.length(where, left, at_once) if wanted.background else at_once
            portion, left = left[:count], left[count:]
            began = monotonic()
            try:
                with measured("embeddings"):
                    found = await self._embedder.embed(
                        portion,
                        embedder=made.embedder,
                        timeout_s=_left_s(wanted),
                        background=wanted.background and stopped < MOST_STOPPED,
                        berth=wanted.berth,
                    )
            except Preempted:
                wanted.stopped()
                left = portion + left
                stopped += 1
            except ServiceError as error:
                made.failure = error
            else:
                self._stride.took(where, portion, monotonic() - began)
                made.embedder = found.embedder
                made.vectors += found.vectors
                stopped = 0
        return made

    async def _write(
        self, texts: Sequence[Text], made: _Vectors, wanted: Wanted, outcome: Outcome, *, ends: bool
    ) -> None:
        """Facts first: what is indexed is not read again."""
        await wanted.pause()
        if texts and not (wanted.vectors_alone or wanted.words_there):
            outcome.facts += await self._draw(wanted.user_id, texts)
        rows = await asyncio.to_thread(_rows, texts, made.vectors, wanted)
        done = wanted.jobs if ends else ()
        if rows or done:
            embedder = made.embedder if made.vectors else None
            written = IndexMessages(user_id=wanted.user_id, embedder=embedder, rows=rows, done_jobs=done)
            await self._bus.request(INDEX_MESSAGES, written)


def _rows(texts: Sequence[Text], vectors: Sequence[bytes], wanted: Wanted) -> tuple[IndexRow, ...]:
    if wanted.vectors_alone:
        pairs = zip(texts, vectors, strict=False)
        return tuple(
            IndexRow(message_id=text.message_id, vector=vector, version=text.version) for text, vector in pairs
        )
    if wanted.words_there:
        return tuple(row(text, vector) for text, vector in zip(texts, vectors, strict=False))
    return tuple(row(text, vector) for text, vector in zip_longest(texts, vectors))


def _left_s(wanted: Wanted) -> float | None:
    if wanted.vectors_by is None:
        return None
    left_s = wanted.vectors_by - monotonic()
    if left_s <= 0:
        raise TimedOut("the embedder is too slow for so many texts")
    return min(left_s, EMBED.timeout_s)
