"""What may be trained on: what was decided for a conversation, else for all that began since a moment, else nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.ratings import TrainingChoices
from services.persistence.postgres import Statement

DECISIONS_SQL = """
conversations AS c LEFT JOIN conversation_consents AS k USING (conversation_id)
LEFT JOIN training_choices AS p ON p.user_id = c.user_id
"""
ALLOWED_SQL = "(c.kind = 'chat' AND c.remembered AND coalesce(k.allowed, c.created_at >= p.future_since, false))"
"""Of ``DECISIONS_SQL``: the one place that says whether a conversation may be trained on."""

_COLUMNS = f"""
SELECT c.conversation_id, c.title, c.title_slot, c.message_count, {ALLOWED_SQL}, k.allowed IS NOT NULL, k.at,
  c.remembered, c.created_at, c.updated_at
FROM {DECISIONS_SQL} WHERE c.user_id = :user_id AND c.kind = 'chat'
"""  # noqa: S608 - constants of this module alone
_ONE = Statement(_COLUMNS + "AND c.conversation_id = :conversation_id")
_LIST = Statement(
    _COLUMNS
    + f"""
AND (CAST(:allowed AS boolean) IS NULL OR {ALLOWED_SQL} = :allowed)
AND (CAST(:at AS timestamptz) IS NULL
  OR (c.updated_at, c.conversation_id) < (CAST(:at AS timestamptz), CAST(:conversation_id AS varchar)))
ORDER BY c.updated_at DESC, c.conversation_id DESC LIMIT :most
"""
)
_CHOICES = Statement("SELECT future_since, share_adapters, tuning FROM training_choices WHERE user_id = :user_id")
_SET = Statement("""
INSERT INTO conversation_consents AS k (conversation_id, user_id, allowed, at)
SELECT conversation_id, user_id, CAST(:allowed AS boolean), CAST(:now AS timestamptz) FROM conversations
WHERE conversation_id = :conversation_id AND user_id = :user_id AND kind = 'chat'
ON CONFLICT (conversation_id) DO UPDATE SET allowed = excluded.allowed,
  at = CASE WHEN k.allowed = excluded.allowed THEN k.at ELSE excluded.at END
RETURNING conversation_id
""")
_SET_CHOICES = Statement("""
INSERT INTO training_choices (user_id, future_since, share_adapters, tuning)
VALUES (:user_id, :future_since, CAST(:share AS boolean), CAST(:tuning AS boolean))
ON CONFLICT (user_id) DO UPDATE SET future_since = excluded.future_since, share_adapters = excluded.share_adapters,
  tuning = excluded.tuning
""")
_BY_DEFAULT = Statement("""
SELECT c.conversation_id FROM conversations AS c LEFT JOIN conversation_consents AS k USING (conversation_id)
WHERE c.user_id = :user_id AND c.kind = 'chat' AND k.allowed IS NULL AND c.created_at >= :since
""")


@dataclass(frozen=True)
class Decision:
    """A conversation, its title still sealed, and whether it may be trained on."""

    conversation_id: str
    title: bytes | None
    title_slot: int | None
    messages: int
    allowed: bool
    decided: bool
    decided_at: datetime | None
    remembered: bool
    created_at: datetime
    updated_at: datetime


async def decision(driver: Any, user_id: str, conversation_id: str) -> Decision | None:
    """None when there is no such conversation of the user's."""
    rows = await _ONE.fetch(driver, user_id=user_id, conversation_id=conversation_id)
    return Decision(*rows[0]) if rows else None


async def decisions(
    driver: Any, user_id: str, allowed: bool | None, limit: int, before: tuple[datetime, str] | None
) -> list[Decision]:
    """Most recently used first, one more than ``limit`` where there are more."""
    at, conversation_id = before or (None, None)
    rows = await _LIST.fetch(
        driver, user_id=user_id, allowed=allowed, at=at, conversation_id=conversation_id, most=limit + 1
    )
    return [Decision(*row) for row in rows]


async def choices(driver: Any, user_id: str) -> TrainingChoices:
    """Those of the user; nothing is given away where none were made."""
    rows = await _CHOICES.fetch(driver, user_id=user_id)
    if not rows:
        return TrainingChoices()
    since, share, tuning = rows[0]
    return TrainingChoices(future=since is not None, future_since=since, share_adapters=share, tuning=tuning)


async def decide(driver: Any, user_id: str, conversation_id: str, allowed: bool, now: datetime) -> bool:
    """Whether there is such a conversation to decide on. The same decision again changes nothing."""
    return bool(await _SET.fetch(driver, user_id=user_id, conversation_id=conversation_id, allowed=allowed, now=now))


async def choose(driver: Any, user_id: str, chosen: TrainingChoices) -> None:
    """Sets the choices for all conversations."""
    await _SET_CHOICES.fetch(
        driver,
        user_id=user_id,
        future_since=chosen.future_since,
        share=chosen.share_adapters,
        tuning=chosen.tuning,
    )


async def allowed_by_default(driver: Any, user_id: str, since: datetime) -> list[str]:
    """The conversations that no decision of their own was made on, and that began since then."""
    return [row[0] for row in await _BY_DEFAULT.fetch(driver, user_id=user_id, since=since)]
