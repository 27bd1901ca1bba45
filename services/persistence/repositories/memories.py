"""Memories, still sealed: messages, notes and passages with what is known of them, always within one user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.persistence.postgres import Statement

COLUMNS = """
m.message_id, m.ordinal, m.conversation_id, m.kind, m.speaker, m.text, m.about, m.slot, m.at,
coalesce(s.pinned, false), s.importance, c.title, c.title_slot,
EXISTS (SELECT FROM fact_sources AS drawn WHERE drawn.message_id = m.message_id)
"""
"""Of ``SealedMemory``, in its order."""
SOURCE = """
messages AS m JOIN conversations AS c USING (conversation_id)
LEFT JOIN memory_states AS s ON s.message_id = m.message_id
"""


@dataclass(frozen=True)
class SealedMemory:
    """A memory whose text is still sealed."""

    message_id: str
    ordinal: int
    conversation_id: str
    kind: str
    speaker: str
    text: bytes
    about: bytes | None
    slot: int
    at: datetime
    pinned: bool
    importance: float | None
    title: bytes | None
    """Of its conversation: a document's name."""
    title_slot: int | None
    has_facts: bool


_SELECT = " ".join(("SELECT", COLUMNS, "FROM", SOURCE, "WHERE m.user_id = :user_id"))
_BY_ORDINAL = Statement(_SELECT + " AND m.ordinal = ANY(CAST(:ordinals AS bigint[]))")
_BY_ID = Statement(_SELECT + " AND m.message_id = ANY(CAST(:ids AS varchar[]))")


async def by_ordinal(driver: Any, user_id: str, ordinals: Sequence[int]) -> list[SealedMemory]:
    """The user's own among them, in the order asked."""
    rows = await _BY_ORDINAL.fetch(driver, user_id=user_id, ordinals=list(ordinals))
    found = {row[1]: SealedMemory(*row) for row in rows}
    return [found[ordinal] for ordinal in ordinals if ordinal in found]


async def by_id(driver: Any, user_id: str, ids: Sequence[str]) -> list[SealedMemory]:
    """The user's own among them, in no order."""
    return [SealedMemory(*row) for row in await _BY_ID.fetch(driver, user_id=user_id, ids=list(ids))]


_OF_CONVERSATION = Statement("""
SELECT message_id, ordinal FROM messages
WHERE user_id = :user_id AND conversation_id = :conversation_id ORDER BY ordinal
""")


async def of_conversation(driver: Any, user_id: str, conversation_id: str) -> dict[str, int]:
    """Id → ordinal of everything in a conversation."""
    rows = await _OF_CONVERSATION.fetch(driver, user_id=user_id, conversation_id=conversation_id)
    return {row[0]: row[1] for row in rows}
