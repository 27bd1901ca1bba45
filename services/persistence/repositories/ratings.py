"""Thumbs on answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from libs.shared.contracts.ratings import Rating, Thumb
from services.persistence.postgres import Statement

RATABLE_SQL = """
SELECT t.turn_id, t.user_id, t.conversation_id FROM turns AS t JOIN conversations AS c USING (conversation_id)
WHERE t.user_id = :user_id AND c.kind = 'chat'
  AND t.turn_id = coalesce((SELECT turn_id FROM messages WHERE message_id = :id AND user_id = :user_id), :id)
  AND EXISTS (SELECT FROM messages AS m WHERE m.turn_id = t.turn_id AND m.speaker = 'assistant')
FOR KEY SHARE OF t
"""
_RATABLE = Statement(RATABLE_SQL)
_GIVE = Statement("""
INSERT INTO ratings AS r (turn_id, user_id, thumb, at) VALUES (:turn_id, :user_id, :thumb, :now)
ON CONFLICT (turn_id) DO UPDATE SET thumb = excluded.thumb,
  at = CASE WHEN r.thumb = excluded.thumb THEN r.at ELSE excluded.at END
RETURNING at
""")
_ABOUT = Statement("""
SELECT min(m.at), EXISTS (
  SELECT FROM ratings AS r JOIN turns AS o USING (turn_id)
  WHERE o.conversation_id = :conversation_id AND r.turn_id <> :turn_id
    AND o.at >= coalesce(CAST(:since AS timestamptz), o.at))
FROM messages AS m WHERE m.turn_id = :turn_id AND m.speaker = 'user'
""")
_REMOVE = Statement("DELETE FROM ratings WHERE turn_id = :turn_id")
_LIST = Statement("""
SELECT r.turn_id, t.conversation_id, r.thumb, r.at FROM ratings AS r JOIN turns AS t USING (turn_id)
WHERE r.user_id = :user_id AND (CAST(:thumb AS varchar) IS NULL OR r.thumb = :thumb)
  AND (CAST(:at AS timestamptz) IS NULL OR (r.at, r.turn_id) < (CAST(:at AS timestamptz), CAST(:turn_id AS varchar)))
ORDER BY r.at DESC, r.turn_id DESC LIMIT :most
""")


async def rate(driver: Any, user_id: str, turn_id: str, conversation_id: str, thumb: Thumb, now: datetime) -> Rating:
    """Gives the thumb to a turn that is ``ratable``."""
    ((at,),) = await _GIVE.fetch(driver, turn_id=turn_id, user_id=user_id, thumb=thumb.value, now=now)
    return Rating(turn_id=turn_id, conversation_id=conversation_id, thumb=thumb, at=at)


async def ratable(driver: Any, user_id: str, named: str) -> tuple[str, str] | None:
    """The turn with its conversation, held until the commit; None unless it is an answer in a talk of the user's."""
    rows = await _RATABLE.fetch(driver, user_id=user_id, id=named)
    return (rows[0][0], rows[0][2]) if rows else None


async def about(
    driver: Any, turn_id: str, conversation_id: str, since: datetime | None
) -> tuple[datetime | None, bool]:
    """When the turn began (None: it has no question); whether another of its conversation, since then, has a thumb."""
    rows = await _ABOUT.fetch(driver, turn_id=turn_id, conversation_id=conversation_id, since=since)
    return rows[0][0], rows[0][1]


async def remove(driver: Any, turn_id: str) -> None:
    """The turn has no thumb from now on."""
    await _REMOVE.fetch(driver, turn_id=turn_id)


async def newest(
    driver: Any, user_id: str, thumb: Thumb | None, limit: int, before: tuple[datetime, str] | None
) -> list[Rating]:
    """Newest first, one more than ``limit`` where there are more."""
    at, turn_id = before or (None, None)
    rows = await _LIST.fetch(
        driver, user_id=user_id, thumb=thumb.value if thumb else None, at=at, turn_id=turn_id, most=limit + 1
    )
    return [Rating(turn_id=row[0], conversation_id=row[1], thumb=Thumb(row[2]), at=row[3]) for row in rows]
