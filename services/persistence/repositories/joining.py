"""Kept messages by the hashes of what was said: for clients that resend their history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.persistence.joining import Place
from services.persistence.postgres import Statement

MOST_PLACES = 4000
"""Newest first; who said the same words more often is found by the others of the history."""

_PLACES = Statement("""
SELECT m.message_id, m.parent_id, m.conversation_id, m.said_hash, m.ordinal
FROM messages AS m JOIN conversations AS c USING (conversation_id)
WHERE m.user_id = :user_id AND m.said_hash = ANY(CAST(:hashes AS bytea[])) AND c.kind = 'chat'
  AND (CAST(:within AS varchar) IS NULL OR m.conversation_id = :within)
ORDER BY m.ordinal DESC LIMIT :most
""")
_BEGUN = Statement("""
SELECT m.conversation_id FROM messages AS m JOIN conversations AS c USING (conversation_id)
WHERE m.user_id = :user_id AND m.said_hash = :said_hash AND m.parent_id IS NULL AND m.at >= :since AND c.kind = 'chat'
  AND NOT EXISTS (
    SELECT FROM messages AS f
    WHERE f.conversation_id = m.conversation_id AND f.message_id <> m.message_id
      AND f.parent_id IS DISTINCT FROM m.message_id
  )
ORDER BY m.ordinal DESC LIMIT 1
""")
_TAKEN = Statement("""
SELECT conversation_id, true FROM conversations
WHERE conversation_id = ANY(CAST(:ids AS varchar[])) AND user_id = :user_id
UNION ALL SELECT id, false FROM tombstones WHERE kind = 'conversation' AND id = ANY(CAST(:ids AS varchar[]))
""")
_CHILD = Statement("""
SELECT message_id FROM messages
WHERE user_id = :user_id AND conversation_id = :conversation_id AND said_hash = :said_hash
  AND parent_id IS NOT DISTINCT FROM CAST(:parent_id AS varchar)
ORDER BY ordinal LIMIT 1
""")


async def places(driver: Any, user_id: str, hashes: Sequence[bytes], within: str | None) -> list[Place]:
    """What the user has of these in conversations; ``within`` one of them, where it is given."""
    rows = await _PLACES.fetch(driver, user_id=user_id, hashes=list(hashes), within=within, most=MOST_PLACES)
    return [Place(*row) for row in rows]


async def begun(driver: Any, user_id: str, said_hash: bytes, since: datetime) -> str | None:
    """The conversation that began with these words since then, and has not gone on after its answers."""
    rows = await _BEGUN.fetch(driver, user_id=user_id, said_hash=said_hash, since=since)
    return rows[0][0] if rows else None


async def taken(driver: Any, user_id: str, ids: Sequence[str]) -> dict[str, bool]:
    """Of these ids those that were given: whether there is a conversation, or was one that is forgotten."""
    return dict(await _TAKEN.fetch(driver, user_id=user_id, ids=list(ids)))


async def child(driver: Any, user_id: str, conversation_id: str, parent_id: str | None, said_hash: bytes) -> str | None:
    """The message of these words that answers to ``parent_id`` (None: that begins the conversation)."""
    rows = await _CHILD.fetch(
        driver, user_id=user_id, conversation_id=conversation_id, parent_id=parent_id, said_hash=said_hash
    )
    return rows[0][0] if rows else None
