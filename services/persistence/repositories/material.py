"""What may be trained on, still sealed, a page of turns at a time; whether it may is asked anew for each page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from libs.shared.contracts.ratings import Thumb
from services.persistence.postgres import Statement
from services.persistence.repositories.consents import ALLOWED_SQL, DECISIONS_SQL

_EARLIEST = datetime.min.replace(tzinfo=UTC)
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
  SELECT t.turn_id, a.at, a.ordinal, t.slot, t.model, t.partial, t.conversation_id, r.thumb
  FROM {DECISIONS_SQL} JOIN messages AS a ON a.conversation_id = c.conversation_id
  JOIN turns AS t ON t.turn_id = a.turn_id LEFT JOIN ratings AS r ON r.turn_id = t.turn_id
  WHERE a.user_id = :user_id AND c.user_id = :user_id AND a.speaker = 'assistant'
    AND {ALLOWED_SQL} AND r.thumb IS DISTINCT FROM 'down' AND (NOT CAST(:rated_up AS boolean) OR r.thumb = 'up')
    AND (a.at, a.ordinal) > (CAST(:at AS timestamptz), CAST(:ordinal AS bigint))
    AND NOT EXISTS (
      SELECT FROM messages AS l WHERE l.turn_id = a.turn_id AND l.speaker = 'assistant' AND l.ordinal > a.ordinal
    )
  ORDER BY a.at, a.ordinal LIMIT :most
)
SELECT u.turn_id, u.at, u.ordinal, u.slot, u.model, u.partial, u.conversation_id, u.thumb, m.message_id, m.speaker,
  m.slot, m.text
FROM usable AS u JOIN messages AS m ON m.turn_id = u.turn_id AND m.user_id = :user_id
ORDER BY u.at, u.ordinal, m.ordinal
"""  # noqa: S608 - constants of ours alone
_PAGE = Statement(PAGE_SQL)


COUNT_SQL = f"""
SELECT count(*), count(*) FILTER (WHERE a.at >= CAST(:since AS timestamptz)), count(DISTINCT c.conversation_id)
FROM {DECISIONS_SQL} JOIN messages AS a ON a.conversation_id = c.conversation_id
JOIN turns AS t ON t.turn_id = a.turn_id LEFT JOIN ratings AS r ON r.turn_id = t.turn_id
WHERE a.speaker = 'assistant' AND {ALLOWED_SQL} AND r.thumb IS DISTINCT FROM 'down'
"""  # noqa: S608 - likewise
_COUNT = Statement(COUNT_SQL)


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
    """A turn that may be trained on, with its messages in order; ``at`` and ``ordinal`` are its answer's."""

    turn_id: str
    at: datetime
    ordinal: int
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
    driver: Any, user_id: str, after: tuple[datetime, int] | None, most: int, *, rated_up: bool
) -> list[SealedTurn]:
    """The next turns that may be trained on now, oldest first; fewer than ``most`` at the end."""
    at, ordinal = after or (_EARLIEST, 0)
    rows = await _PAGE.fetch(driver, user_id=user_id, rated_up=rated_up, at=at, ordinal=ordinal, most=most)
    turns: dict[str, SealedTurn] = {}
    said: dict[str, list[SealedSaid]] = {}
    for turn_id, when, place, slot, model, partial, conversation_id, given, *message in rows:
        thumb = Thumb(given) if given else None
        turns[turn_id] = SealedTurn(turn_id, when, place, slot, model, partial, conversation_id, thumb, ())
        said.setdefault(turn_id, []).append(SealedSaid(*message))
    return [replace(turn, said=tuple(said[turn.turn_id])) for turn in turns.values()]


async def count(driver: Any, since: datetime | None) -> tuple[int, int, int]:
    """(answers that may be trained on, of those since then, their conversations), of everybody."""
    rows = await _COUNT.fetch(driver, since=since or _EARLIEST)
    exchanges, since_then, conversations = rows[0]
    return exchanges, since_then, conversations
