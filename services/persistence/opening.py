"""Opening sealed rows for those who may read them: memories, facts, speakers' names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from libs.shared.contracts.memory import Fact, MemoryItem, MemoryKind
from libs.shared.sealing import Unreadable, unseal
from libs.shared.telemetry import get_logger
from services.persistence.repositories.facts import SealedFact
from services.persistence.repositories.memories import SealedMemory
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.slot_file import KeyGone

log = get_logger(__name__)

_MANY = 128
"""From so many rows on, opening them is worth a thread."""
OTHER = "other"
"""In a row's ``speaker``: the name stands in ``about``."""
Row = TypeVar("Row")
Open = TypeVar("Open")


class SealedRow(Protocol):
    """What any row with a message has."""

    @property
    def message_id(self) -> str: ...
    @property
    def speaker(self) -> str: ...
    @property
    def slot(self) -> int: ...
    @property
    def text(self) -> bytes: ...
    @property
    def about(self) -> bytes | None: ...


@dataclass(frozen=True)
class Opened:
    """A message, readable."""

    text: str
    speaker: str
    """``user``, ``assistant``, or the name that it was imported with."""
    about: Mapping[str, Any]


async def open_many(rows: Sequence[Row], open_one: Callable[[Row], Open]) -> list[Open]:
    """``open_one`` of each, in a thread where they are many."""
    if len(rows) >= _MANY:
        return await asyncio.to_thread(lambda: [open_one(row) for row in rows])
    return [open_one(row) for row in rows]


def open_message(keys: KeyRing, user: UserKeys, row: SealedRow) -> Opened | None:
    """None where the key is gone: forgotten while we read, or lost; either way there is nothing to show."""
    try:
        key = keys.data_key(user, row.slot)
        text = unseal(key, row.text).decode()
        about = json.loads(unseal(key, row.about)) if row.about else {}
    except (KeyGone, Unreadable):
        log.warning("message_unreadable", message_id=row.message_id)
        return None
    return Opened(text, about.get("name", OTHER) if row.speaker == OTHER else row.speaker, about)


def open_title(keys: KeyRing, user: UserKeys, title: bytes | None, slot: int | None) -> str | None:
    """None where there is none, or its key is gone."""
    if title is None or slot is None:
        return None
    try:
        return keys.open_text(user, slot, title)
    except (KeyGone, Unreadable):
        return None


def open_fact(keys: KeyRing, user: UserKeys, row: SealedFact, *, with_times: bool = False) -> Fact | None:
    """None where the key is gone. ``with_times``: when each source was said."""
    try:
        said = json.loads(keys.open_text(user, row.slot, row.fact))
    except (KeyGone, Unreadable):
        log.warning("fact_unreadable", fact_id=row.fact_id)
        return None
    return Fact(
        id=row.fact_id,
        sources=tuple(row.sources),
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        superseded_by=row.superseded_by,
        said_at=tuple(row.said_at) if with_times else (),
        **said,
    )


def fact_item(fact: Fact, conversation_id: str, speaker: str) -> MemoryItem:
    """A fact as its user lists it; where it was said, and by whom, is of its newest source."""
    return MemoryItem(
        id=fact.id,
        kind=MemoryKind.FACT,
        text=fact.text,
        source_id=fact.id,
        conversation_id=conversation_id,
        speaker=speaker,
        at=fact.valid_from,
        facts=(fact,),
        superseded_by=fact.superseded_by,
    )


@dataclass(frozen=True)
class DrawnFact:
    """A fact with the memory that tells otherwise since then, if there is one."""

    fact: Fact
    newer_source: str | None


def memory_item(keys: KeyRing, user: UserKeys, row: SealedMemory, drawn: Sequence[DrawnFact] = ()) -> MemoryItem | None:
    """The memory as its user sees it, with the facts that were drawn from it; None where its key is gone."""
    if (opened := open_message(keys, user, row)) is None:
        return None
    newer = [one.newer_source for one in drawn if one.newer_source not in (None, row.message_id)]
    return MemoryItem(
        id=row.message_id,
        kind=MemoryKind(row.kind),
        text=opened.text,
        source_id=opened.about.get("source_id", row.message_id),
        conversation_id=row.conversation_id,
        speaker=opened.speaker,
        at=row.at,
        pinned=row.pinned,
        importance=row.importance or 0.0,
        title=open_title(keys, user, row.title, row.title_slot) if row.kind == MemoryKind.PASSAGE else None,
        page=opened.about.get("page"),
        facts=tuple(one.fact for one in drawn),
        superseded_by=newer[-1] if newer else None,
    )
