"""A user's memory of every kind, made as the other services make it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.shared.contracts.indexing import INDEX_MESSAGES, IndexMessages, IndexRow
from libs.shared.contracts.keeping import (
    KEEP_DOCUMENT,
    KEEP_FACTS,
    KEEP_NOTE,
    KEEP_TURNS,
    KeepDocument,
    KeepFacts,
    KeepNote,
    KeepTurns,
    Passage,
)
from libs.shared.contracts.memory import Fact, ImportedTurn, MemoryItem
from libs.shared.contracts.recall import (
    FIND_CANDIDATES,
    READ_MEMORIES,
    FindCandidates,
    ReadMemories,
)
from tests.support.persistence import START, Client, RunningPersistence, new_id

EMBEDDER = "test@1"


@dataclass(frozen=True)
class Entry:
    """What makes a memory searchable."""

    message_id: str
    text: str
    vector: bytes | None = None

    @property
    def terms(self) -> dict[str, int]:
        words = self.text.split()
        return {word: words.count(word) for word in words}


async def index(client: Client, user_id: str, entries: Iterable[Entry]) -> None:
    """Makes memories searchable by their words as they are written, and by their vectors."""
    rows = tuple(
        IndexRow(message_id=one.message_id, terms=one.terms, vector=one.vector, words=len(one.terms)) for one in entries
    )
    await client.cognition.request(INDEX_MESSAGES, IndexMessages(user_id=user_id, embedder=EMBEDDER, rows=rows))


async def find(client: Client, user_id: str, words: str, vector: bytes | None = None) -> dict[str, MemoryItem]:
    """Text → memory, of whatever comes with evidence for the words, or for a vector."""
    asked = FindCandidates(user_id=user_id, terms=tuple(words.split()), vector=vector, embedder=EMBEDDER)
    found = await client.cognition.request(FIND_CANDIDATES, asked)
    chosen = tuple(
        ordinal
        for ordinal, bm25, cosine in zip(found.ordinals, found.bm25, found.cosine, strict=True)
        if bm25 > 0 or (vector is not None and (cosine or 0) > 0.9)
    )
    read = await client.cognition.request(READ_MEMORIES, ReadMemories(user_id=user_id, ordinals=chosen))
    return {item.text: item for item in read.items}


async def say(client: Client, persistence: RunningPersistence, user_id: str, where: str, *texts: str) -> list[str]:
    """Keeps a turn and waits until it is applied; its messages."""
    turn, position = await client.say(user_id, where, *texts)
    await persistence.parts.watermark.wait_for(position)
    return [message.message_id for message in turn.messages]


async def import_turns(client: Client, user_id: str, where: str, *texts: str) -> list[MemoryItem]:
    """Turns of one imported conversation, a minute apart."""
    turns = tuple(
        ImportedTurn(id=new_id(), conversation_id=where, speaker="Ada", text=text, at=START + timedelta(minutes=n))
        for n, text in enumerate(texts)
    )
    kept = await client.cognition.request(KEEP_TURNS, KeepTurns(user_id=user_id, turns=turns))
    return list(kept.items)


async def note(client: Client, user_id: str, text: str) -> MemoryItem:
    """A note in the user's words."""
    kept = await client.cognition.request(KEEP_NOTE, KeepNote(user_id=user_id, text=text))
    return kept.items[0]


async def document(client: Client, user_id: str, name: str, *passages: str) -> list[MemoryItem]:
    """A document's passages."""
    request = KeepDocument(
        user_id=user_id,
        name=name,
        media_type="text/plain",
        size=1,
        digest=new_id(),
        pages=1,
        passages=tuple(Passage(text=text, page=1) for text in passages),
        at=START,
    )
    return list((await client.cognition.request(KEEP_DOCUMENT, request)).items)


async def facts(client: Client, user_id: str, *drawn: Fact) -> None:
    """Keeps facts."""
    await client.cognition.request(KEEP_FACTS, KeepFacts(user_id=user_id, facts=drawn))


def fact(
    sources: Sequence[str],
    value: str,
    *,
    at: datetime = START,
    superseded_by: Fact | None = None,
    attribute: str = "residence",
) -> Fact:
    """A fact of the user; ``superseded_by`` ends it."""
    return Fact(
        id=new_id(),
        subject="user",
        attribute=attribute,
        value=value,
        text=f"The user lives in {value}.",
        sources=tuple(sources),
        valid_from=at,
        valid_to=superseded_by.valid_from if superseded_by else None,
        superseded_by=superseded_by.id if superseded_by else None,
        extractor="test@1",
    )
