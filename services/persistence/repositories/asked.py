"""What was asked and may be replayed, still sealed; whether it may is asked anew for each page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from libs.shared.contracts.replay import ReadAsked
from services.persistence.postgres import Statement
from services.persistence.repositories.material import SealedSaid

_EARLIEST = datetime.min.replace(tzinfo=UTC)
ALLOWED_SQL = "(p.tuning AND c.kind = 'chat' AND c.remembered)"
"""Of ``training_choices AS p`` and ``conversations AS c``: the one place that says what may be replayed."""
EXTRACTIVE = "extractive"
"""As a turn's model: no model answered."""
PAGE_SQL = f"""
WITH usable AS (
  SELECT t.turn_id, t.user_id, t.conversation_id, min(q.at) AS at, min(q.ordinal) AS ordinal
  FROM training_choices AS p
  JOIN conversations AS c ON c.user_id = p.user_id
  JOIN turns AS t ON t.conversation_id = c.conversation_id AND t.user_id = p.user_id
  JOIN messages AS q ON q.turn_id = t.turn_id AND q.speaker = 'user'
  LEFT JOIN ratings AS r ON r.turn_id = t.turn_id
  WHERE {ALLOWED_SQL} AND (CAST(:user_id AS varchar) IS NULL OR p.user_id = :user_id)
    AND (CAST(:whatever_answered AS boolean) OR (r.thumb IS DISTINCT FROM 'down'
      AND NOT t.partial AND t.model IS NOT NULL AND t.model <> '{EXTRACTIVE}'))
    AND q.at >= CAST(:since AS timestamptz)
  GROUP BY t.turn_id
  HAVING (min(q.at), min(q.ordinal)) > (CAST(:at AS timestamptz), CAST(:ordinal AS bigint))
  ORDER BY min(q.at), min(q.ordinal) LIMIT :most
)
SELECT u.turn_id, u.user_id, u.conversation_id, u.at, u.ordinal, m.message_id, m.speaker, m.slot, m.text
FROM usable AS u JOIN messages AS m ON m.turn_id = u.turn_id AND m.user_id = u.user_id
ORDER BY u.at, u.ordinal, m.ordinal
"""  # noqa: S608 - constants of ours alone
_PAGE = Statement(PAGE_SQL)
_STILL = Statement(f"""
SELECT t.turn_id FROM turns AS t JOIN conversations AS c USING (conversation_id)
JOIN training_choices AS p ON p.user_id = t.user_id
WHERE t.turn_id = ANY(CAST(:turn_ids AS varchar[])) AND {ALLOWED_SQL}
""")  # noqa: S608 - likewise


@dataclass(frozen=True)
class SealedQuestion:
    """A turn that may be replayed, with its messages in order; ``at`` and ``ordinal`` are its question's."""

    turn_id: str
    user_id: str
    conversation_id: str
    at: datetime
    ordinal: int
    said: tuple[SealedSaid, ...]


async def page(driver: Any, after: tuple[datetime, int] | None, request: ReadAsked) -> list[SealedQuestion]:
    """The next ones, oldest first; fewer than the request's limit at the end."""
    at, ordinal = after or (_EARLIEST, 0)
    rows = await _PAGE.fetch(
        driver,
        user_id=request.user_id,
        since=request.since or _EARLIEST,
        whatever_answered=request.whatever_answered,
        at=at,
        ordinal=ordinal,
        most=request.limit,
    )
    heads: dict[str, tuple[str, str, str, datetime, int]] = {}
    said: dict[str, list[SealedSaid]] = {}
    for turn_id, owner, conversation_id, when, place, *message in rows:
        heads[turn_id] = (turn_id, owner, conversation_id, when, place)
        said.setdefault(turn_id, []).append(SealedSaid(*message))
    return [SealedQuestion(*head, said=tuple(said[turn_id])) for turn_id, head in heads.items()]


async def still_allowed(driver: Any, turn_ids: Sequence[str]) -> list[str]:
    """Those of them that are there, and may be replayed."""
    return [row[0] for row in await _STILL.fetch(driver, turn_ids=list(turn_ids))]
