"""Importing what was read out of an archive: in calls of bounded size, each of which can be repeated."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.conversations import CHANGE_CONVERSATION, ChangeConversation
from libs.shared.contracts.documents import ADD_DOCUMENT, LARGEST_DOCUMENT, AddDocument
from libs.shared.contracts.memory import ADD_MEMORY, AddMemory, ImportedTurn, MemoryKind
from libs.shared.errors import ConversationNotFound, DocumentDamaged, InvalidRequest, UnsupportedDocument
from services.api.archives.parsing import Contents
from services.api.archives.records import Heading, Note, Passage, record_of
from services.api.exports import Everything
from services.api.imports import import_turns
from services.api.parts import Parts
from services.api.spool import SealedSpool

_CALL_TURNS = 250
"""Fewer than a call may have, so that a small board tells of its progress every few seconds."""
_CALL_CHARACTERS = 4_000_000
_TOLD_EVERY = 50
"""Notes, after which a line tells that it goes on: who hears nothing for minutes gives up."""
_PLAIN_TEXT = "text/plain"


@dataclass
class ArchiveImport:
    """One archive on its way into one user's memory; ``events`` tells how it goes."""

    parts: Parts
    user_id: str
    contents: Contents
    records: SealedSpool
    imported: int = 0
    present: int = 0
    notes: int = 0
    documents: int = 0
    degraded: str | None = None
    left_out: int = 0
    _headed: set[str] = field(default_factory=set)
    """Conversations that have their titles."""

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """``read``, any number of ``progress``, ``done``. Raises ServiceError; a repeat goes on where it stopped."""
        found = self.contents
        self.left_out = found.left_out
        yield {
            "event": "read",
            "kind": found.kind,
            "conversations": len(found.headings),
            "turns": found.turns,
            "notes": found.notes,
            "documents": found.documents,
            "left_out": found.left_out,
        }
        async for progress in self._turns():
            yield progress
        async for _ in self._notes():
            yield self._progress()
        async for _ in self._documents():
            yield self._progress()
        yield {"event": "done", **self._so_far(), "notes": self.notes, "documents": self.documents} | (
            {"left_out": self.left_out, "degraded": self.degraded}
        )

    def _progress(self) -> dict[str, Any]:
        return {"event": "progress", **self._so_far()}

    def _so_far(self) -> dict[str, Any]:
        return {"imported": self.imported, "present": self.present, "of": self.contents.turns}

    async def _turns(self) -> AsyncIterator[dict[str, Any]]:
        calls = _calls(self.records)
        while call := await asyncio.to_thread(next, calls, None):
            done = await import_turns(self.parts, self.user_id, call)
            self.imported += done.imported
            self.present += done.present
            self.degraded = done.degraded or self.degraded
            if done.imported:
                await self._headings({turn.conversation_id for turn in call})
            yield self._progress()

    async def _headings(self, conversations: set[str]) -> None:
        """With the first turns, and not at the end: a repeat of what broke off finds these turns there, and what isn't
        to be remembered isn't meanwhile."""
        wanted = map(self.contents.headings.get, sorted(conversations - self._headed))
        for heading in filter(None, wanted):
            if heading.title or not heading.remembered:
                await self._head(heading)
        self._headed |= conversations

    async def _head(self, heading: Heading) -> None:
        try:
            change = ChangeConversation(
                user_id=self.user_id,
                conversation_id=heading.conversation_id,
                title=heading.title,
                remembered=None if heading.remembered else False,
            )
            await self.parts.bus.request(CHANGE_CONVERSATION, change)
        except (ConversationNotFound, ValidationError):
            return  # it was forgotten meanwhile, or its id is none that could be asked for

    async def _notes(self) -> AsyncIterator[None]:
        if not self.contents.notes:
            return
        everything = Everything(self.parts, self.user_id, None)
        here = {_mark(item.text) async for item in everything.memories(MemoryKind.NOTE)}
        for note in _of_kind(self.records, Note):
            if _mark(note.text) in here:
                continue
            here.add(_mark(note.text))
            wanted = AddMemory(
                user_id=self.user_id, text=note.text, at=note.at, pinned=note.pinned, importance=note.importance
            )
            await self.parts.bus.request(ADD_MEMORY, wanted)
            self.notes += 1
            if self.notes % _TOLD_EVERY == 0:
                yield

    async def _documents(self) -> AsyncIterator[None]:
        """As plain text; what has the name of a document that is here is left as it is."""
        if not self.contents.documents:
            return
        everything = Everything(self.parts, self.user_id, None)
        here = {document.name async for document in everything.documents()}
        for name, text in _whole_documents(self.records):
            if name in here:
                continue
            if text is None:
                self.left_out += 1
                continue
            wanted = AddDocument(user_id=self.user_id, name=name, media_type=_PLAIN_TEXT, content=text)
            try:
                await self.parts.bus.request(ADD_DOCUMENT, wanted)
            except (UnsupportedDocument, DocumentDamaged, InvalidRequest):
                self.left_out += 1
            else:
                self.documents += 1
            yield


def _of_kind(records: SealedSpool, kind: type[Any]) -> Iterator[Any]:
    for line in records.lines():
        record = record_of(line)
        if isinstance(record, kind):
            yield record


def _calls(records: SealedSpool) -> Iterator[tuple[ImportedTurn, ...]]:
    call: list[ImportedTurn] = []
    characters = 0
    for turn in _of_kind(records, ImportedTurn):
        call.append(turn)
        characters += len(turn.text)
        if len(call) >= _CALL_TURNS or characters >= _CALL_CHARACTERS:
            yield tuple(call)
            call, characters = [], 0
    if call:
        yield tuple(call)


def _whole_documents(records: SealedSpool) -> Iterator[tuple[str, bytes | None]]:
    """Name and text of each; None where it is too large."""
    name, size = "", 0
    texts: list[str] = []
    for passage in _of_kind(records, Passage):
        if passage.name != name and name:
            yield name, _joined(texts, size)
            texts, size = [], 0
        name = passage.name
        size += len(passage.text.encode()) + 2
        if size <= LARGEST_DOCUMENT:
            texts.append(passage.text)
    if name:
        yield name, _joined(texts, size)


def _joined(texts: list[str], size: int) -> bytes | None:
    return "\n\n".join(texts).encode() if size <= LARGEST_DOCUMENT else None


def _mark(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
