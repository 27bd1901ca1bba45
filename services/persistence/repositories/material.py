"""What may be trained on, still sealed, a page of turns at a time; whether it may is asked anew for each page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from libs.shared.contracts.ratings import Thumb
from services.persistence.postgres import Statement
from services.persistence.repositories.consents import ALLOWED_SQL, DECISIONS_SQL

_OWNERS = Statement("""
SELECT u.user_id, u.name FROM users AS u
WHERE (cardinality(CAST(:ids AS varchar[])) = 0 OR u.user_id = ANY(CAST(:ids AS varchar[]))) AND (
  EXISTS (SELECT FROM conversation_consents AS k WHERE k.user_id = u.user_id AND k.allowed)
  OR EXISTS (SELECT FROM training_choices AS p WHERE p.user_id = u.user_id AND p.future_since IS NOT NULL)
)
ORDER BY u.user_id
""")
PAGE_SQL = f"""
WITH usable AS (
  SELECT t.turn_id, t.at, t.slot, t.model, t.partial, t.conversation_id, r.thumb
  FROM {DECISIONS_SQL} JOIN turns AS t ON t.conversation_id = c.conversation_id
  LEFT JOIN ratings AS r ON r.turn_id = t.turn_id
  WHERE t.user_id = :user_id AND c.user_id = :user_id AND {ALLOWED_SQL} AND r.thumb IS DISTINCT FROM 'down'
    AND (NOT CAST(:rated_up AS boolean) OR r.thumb = 'up')
    AND (CAST(:at AS timestamptz) IS NULL OR (t.at, t.turn_id) > (CAST(:at AS timestamptz), CAST(:turn_id AS varchar)))
  ORDER BY t.at, t.turn_id LIMIT :most
)
SELECT u.turn_id, u.at, u.slot, u.model, u.partial, u.conversation_id, u.thumb, m.message_id, m.speaker, m.slot, m.text
FROM usable AS u LEFT JOIN messages AS m ON m.turn_id = u.turn_id AND m.user_id = :user_id
ORDER BY u.at, u.turn_id, m.ordinal
"""  # noqa: S608 - constants of ours alone
_PAGE = Statement(PAGE_SQL)


@dataclass(frozen=True)
class SealedSaid:
    """A message of a turn."""

    message_id: str
    speaker: str
    slot: int
    text: bytes
    about: None = None


@dataclass(frozen=True)
class SealedTurn:
    """A turn that may be trained on, with its messages in order."""

    turn_id: str
    at: datetime
    slot: int
    model: str | None
    partial: bool
    conversation_id: str
    thumb: Thumb | None
    said: tuple[SealedSaid, ...]


async def owners(driver: Any, ids: Sequence[str]) -> list[tuple[str, str]]:
    """Who allows anything, with their accounts' names; of ``ids`` alone where there are any."""
    return [(row[0], row[1]) for row in await _OWNERS.fetch(driver, ids=list(ids))]


async def page(
    driver: Any, user_id: str, after: tuple[datetime, str] | None, most: int, *, rated_up: bool
) -> list[SealedTurn]:
    """The next turns that may be trained on now, oldest first; fewer than ``most`` at the end."""
    at, turn_id = after or (None, None)
    rows = await _PAGE.fetch(driver, user_id=user_id, rated_up=rated_up, at=at, turn_id=turn_id, most=most)
    turns: dict[str, SealedTurn] = {}
    said: dict[str, list[SealedSaid]] = {}
    for row in rows:
        thumb = Thumb(row[6]) if row[6] else None
        turn_id, when, slot, model, partial, conversation_id = row[:6]
        turns.setdefault(turn_id, SealedTurn(turn_id, when, slot, model, partial, conversation_id, thumb, ()))
        messages = said.setdefault(row[0], [])
        if row[7] is not None:
            messages.append(SealedSaid(*row[7:]))
    return [replace(turn, said=tuple(said[turn.turn_id])) for turn in turns.values()]
