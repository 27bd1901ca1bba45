"""A user's whole memory as one document, written while it is read: JSON that can be imported again, or Markdown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.common import Position
from libs.shared.contracts.conversations import (
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    Conversation,
    ListConversations,
    ReadConversation,
)
from libs.shared.contracts.documents import LIST_DOCUMENTS, Document, ListDocuments
from libs.shared.contracts.memory import LIST_MEMORIES, ListMemories, MemoryItem, MemoryKind
from libs.shared.contracts.ratings import (
    LIST_CONSENTS,
    LIST_RATINGS,
    ConversationConsent,
    ListConsents,
    ListRatings,
    Rating,
)
from libs.shared.contracts.turns import TurnMessage
from libs.shared.errors import ConversationNotFound
from services.api.archives.own import FORMAT, VERSION
from services.api.parts import Parts

_PAGE = 200


@dataclass(frozen=True)
class Everything:
    """All that is kept of one user, page by page. What is forgotten meanwhile is passed over."""

    parts: Parts
    user_id: str
    read_after: Position | None

    async def conversations(self) -> AsyncIterator[Conversation]:
        """Most recently used first."""
        cursor: str | None = None
        while True:
            page = await self.parts.bus.request(
                LIST_CONVERSATIONS,
                ListConversations(user_id=self.user_id, limit=_PAGE, cursor=cursor, read_after=self.read_after),
            )
            for conversation in page.conversations:
                yield conversation
            if (cursor := page.next_cursor) is None:
                return

    async def messages(self, conversation_id: str) -> AsyncIterator[TurnMessage]:
        """Of a conversation, or the passages of a document; oldest first."""
        cursor: str | None = None
        while True:
            wanted = ReadConversation(user_id=self.user_id, conversation_id=conversation_id, limit=_PAGE, cursor=cursor)
            try:
                page = await self.parts.bus.request(READ_CONVERSATION, wanted)
            except ConversationNotFound:
                return
            for message in page.messages:
                yield message
            if (cursor := page.next_cursor) is None:
                return

    async def documents(self) -> AsyncIterator[Document]:
        """Newest first."""
        cursor: str | None = None
        while True:
            page = await self.parts.bus.request(
                LIST_DOCUMENTS, ListDocuments(user_id=self.user_id, limit=_PAGE, cursor=cursor)
            )
            for document in page.documents:
                yield document
            if (cursor := page.next_cursor) is None:
                return

    async def memories(self, kind: MemoryKind) -> AsyncIterator[MemoryItem]:
        """Newest first."""
        cursor: str | None = None
        while True:
            page = await self.parts.bus.request(
                LIST_MEMORIES, ListMemories(user_id=self.user_id, kind=kind, limit=_PAGE, cursor=cursor)
            )
            for item in page.items:
                yield item
            if (cursor := page.next_cursor) is None:
                return

    async def ratings(self) -> AsyncIterator[Rating]:
        """Newest first."""
        cursor: str | None = None
        while True:
            wanted = ListRatings(user_id=self.user_id, limit=_PAGE, cursor=cursor)
            page = await self.parts.bus.request(LIST_RATINGS, wanted)
            for rating in page.ratings:
                yield rating
            if (cursor := page.next_cursor) is None:
                return

    async def decisions(self) -> AsyncIterator[ConversationConsent]:
        """The conversations that were decided on one by one, most recently used first."""
        cursor: str | None = None
        while True:
            wanted = ListConsents(user_id=self.user_id, limit=_PAGE, cursor=cursor)
            page = await self.parts.bus.request(LIST_CONSENTS, wanted)
            for consent in page.conversations:
                if consent.decided:
                    yield consent
            if (cursor := page.next_cursor) is None:
                return


async def as_json(everything: Everything, at: datetime) -> AsyncIterator[str]:
    """An object of arrays; ``POST /api/v1/memories/import/archive`` takes it."""
    yield f'{{"format":"{FORMAT}","version":{VERSION},"exported_at":"{at.isoformat()}"'
    headings = [heading async for heading in everything.conversations()]
    documents = [document async for document in everything.documents()]
    sections: dict[str, AsyncIterator[dict[str, Any]]] = {
        "conversations": _each(headings),
        "messages": _messages(everything, headings),
        "notes": _memories(everything, MemoryKind.NOTE),
        "documents": _each(documents),
        "passages": _passages(everything, documents),
        "facts": _memories(everything, MemoryKind.FACT),
        "ratings": _ratings(everything),
        "consents": _consents(everything),
    }
    for name, rows in sections.items():
        yield f',\n"{name}":['
        separator = "\n"
        async for row in rows:
            yield separator + json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            separator = ",\n"
        yield "]"
    yield "}\n"


async def _each(rows: list[Conversation] | list[Document]) -> AsyncIterator[dict[str, Any]]:
    for row in rows:
        yield row.model_dump(mode="json")


async def _messages(everything: Everything, headings: list[Conversation]) -> AsyncIterator[dict[str, Any]]:
    for heading in headings:
        async for message in everything.messages(heading.conversation_id):
            told = message.model_dump(mode="json", exclude_none=True)
            yield {"conversation_id": heading.conversation_id, **told}


async def _passages(everything: Everything, documents: list[Document]) -> AsyncIterator[dict[str, Any]]:
    for document in documents:
        async for passage in everything.messages(document.document_id):
            yield {"name": document.name, "page": passage.page, "text": passage.text}


async def _memories(everything: Everything, kind: MemoryKind) -> AsyncIterator[dict[str, Any]]:
    async for item in everything.memories(kind):
        yield item.model_dump(mode="json", exclude={"score", "parts"})


async def _ratings(everything: Everything) -> AsyncIterator[dict[str, Any]]:
    async for rating in everything.ratings():
        yield rating.model_dump(mode="json")


async def _consents(everything: Everything) -> AsyncIterator[dict[str, Any]]:
    async for consent in everything.decisions():
        yield consent.model_dump(mode="json", include={"conversation_id", "allowed", "decided_at"})


async def as_markdown(everything: Everything, at: datetime) -> AsyncIterator[str]:
    """For reading."""
    yield f"# Memory\n\nExported on {at:%Y-%m-%d %H:%M} UTC.\n"
    yield "\n## Notes\n"
    async for note in everything.memories(MemoryKind.NOTE):
        yield f"\n- {note.at:%Y-%m-%d}{' (pinned)' if note.pinned else ''}: {_indented(note.text)}\n"
    yield "\n## Facts\n"
    async for item in everything.memories(MemoryKind.FACT):
        yield f"\n- {_valid(item)}{_indented(item.text)}\n"
    yield "\n## Conversations\n"
    async for heading in everything.conversations():
        yield f"\n### {heading.title or 'Conversation'}{'' if heading.remembered else ' (not remembered)'}\n"
        async for message in everything.messages(heading.conversation_id):
            partial = " (broke off)" if message.partial else ""
            yield f"\n**{message.speaker}**, {message.at:%Y-%m-%d %H:%M} UTC{partial}\n\n{message.text}\n"
    yield "\n## Documents\n"
    async for document in everything.documents():
        yield f"\n### {document.name}\n"
        async for passage in everything.messages(document.document_id):
            page = f"*page {passage.page}*\n\n" if passage.page is not None else ""
            yield f"\n{page}{passage.text}\n"


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n  ")


def _valid(item: MemoryItem) -> str:
    fact = next(iter(item.facts), None)
    if fact is None:
        return ""
    until = f" to {fact.valid_to:%Y-%m-%d}" if fact.valid_to is not None else ""
    return f"{fact.valid_from:%Y-%m-%d}{until}: "
