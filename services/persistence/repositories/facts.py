"""Facts, still sealed, and the memories that they were drawn from, always within one user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.persistence.postgres import Statement

COLUMNS = """
f.fact_id, f.slot, f.fact, f.valid_from, f.valid_to, f.superseded_by,
ARRAY(
  SELECT source.message_id FROM fact_sources AS fs JOIN messages AS source USING (message_id)
  WHERE fs.fact_id = f.fact_id ORDER BY source.ordinal
),
(
  SELECT newer.message_id FROM fact_sources AS fs JOIN messages AS newer USING (message_id)
  WHERE fs.fact_id = f.superseded_by ORDER BY newer.at DESC, newer.ordinal DESC LIMIT 1
)
"""
"""Of ``SealedFact``, in its order."""


@dataclass(frozen=True)
class SealedFact:
    """A fact whose words are still sealed."""

    fact_id: str
    slot: int
    fact: bytes
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: str | None
    sources: list[str]
    newer_source: str | None
    """The newest memory that the superseding fact was drawn from."""


_SELECT = " ".join(("SELECT", COLUMNS, "FROM facts AS f"))
_OF_MEMORIES = Statement(
    _SELECT
    + """
WHERE f.user_id = :user_id AND EXISTS (
  SELECT FROM fact_sources AS chosen
  WHERE chosen.fact_id = f.fact_id AND chosen.message_id = ANY(CAST(:message_ids AS varchar[]))
) ORDER BY f.valid_from, f.fact_id
"""
)


async def of_memories(driver: Any, user_id: str, message_ids: Sequence[str]) -> list[SealedFact]:
    """Every fact that was drawn from any of them, oldest first."""
    return [SealedFact(*row) for row in await _OF_MEMORIES.fetch(driver, user_id=user_id, message_ids=message_ids)]
