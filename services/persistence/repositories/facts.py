"""Facts, still sealed, and the memories that they were drawn from, always within one user."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from libs.shared.contracts.keeping import FactChange
from services.persistence.postgres import Statement

COLUMNS = """
f.fact_id, f.slot, f.fact, f.valid_from, f.valid_to, f.superseded_by,
ARRAY(
  SELECT source.message_id FROM fact_sources AS fs JOIN messages AS source USING (message_id)
  WHERE fs.fact_id = f.fact_id ORDER BY source.ordinal
),
ARRAY(
  SELECT source.at FROM fact_sources AS fs JOIN messages AS source USING (message_id)
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
    said_at: list[datetime]
    """When each of them was said."""
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


_BY_ID = Statement(_SELECT + " WHERE f.user_id = :user_id AND f.fact_id = ANY(CAST(:ids AS varchar[]))")
_LISTED = Statement(
    _SELECT
    + """
WHERE f.user_id = :user_id AND (CAST(:current AS boolean) IS NULL OR (f.valid_to IS NULL) = :current)
  AND (f.valid_from, f.fact_id) < (CAST(:at AS timestamptz), CAST(:id AS varchar))
ORDER BY f.valid_from DESC, f.fact_id DESC LIMIT :most
"""
)
_ALL = Statement("SELECT fact_id, slot, fact FROM facts WHERE user_id = :user_id")
_LATEST = (datetime.max.replace(tzinfo=UTC), "")


async def by_id(driver: Any, user_id: str, ids: Sequence[str]) -> list[SealedFact]:
    """The user's own among them, in order of ``valid_from``."""
    found = [SealedFact(*row) for row in await _BY_ID.fetch(driver, user_id=user_id, ids=list(ids))]
    return sorted(found, key=lambda fact: (fact.valid_from, fact.fact_id))


async def listed(
    driver: Any, user_id: str, current: bool | None, before: tuple[datetime, str] | None, most: int
) -> list[SealedFact]:
    """Newest first by when they began to hold, one more than ``most`` where there are more."""
    at, fact_id = before or _LATEST
    rows = await _LISTED.fetch(driver, user_id=user_id, current=current, at=at, id=fact_id, most=most + 1)
    return [SealedFact(*row) for row in rows]


async def all_of(driver: Any, user_id: str) -> list[tuple[str, int, bytes]]:
    """Id, slot and sealed words of everything that is known of the user."""
    return [(row[0], row[1], row[2]) for row in await _ALL.fetch(driver, user_id=user_id)]


# ---------------------------------------------------------------- writing


@dataclass(frozen=True)
class NewFact:
    """A fact to keep, sealed under a key of its own."""

    fact_id: str
    slot: int
    fact: bytes
    valid_from: datetime
    valid_to: datetime | None
    superseded_by: str | None


_KNOWN = Statement("SELECT fact_id FROM facts WHERE user_id = :user_id AND fact_id = ANY(CAST(:ids AS varchar[]))")
# before any row of a memory, as a forgetting does: so one of the two waits for the other, and neither for both
_HOLD_USER = Statement("SELECT FROM users WHERE user_id = :user_id FOR KEY SHARE")
_SOURCES = Statement("""
SELECT m.message_id FROM messages AS m JOIN conversations AS c USING (conversation_id)
JOIN unnest(CAST(:ids AS varchar[]), CAST(:versions AS bigint[])) AS drawn (message_id, version)
  ON drawn.message_id = m.message_id
WHERE m.user_id = :user_id AND m.message_id = ANY(CAST(:ids AS varchar[])) AND c.remembered
  AND (drawn.version IS NULL OR drawn.version = m.slot)
ORDER BY m.ordinal FOR SHARE OF m
""")
_KEEP = Statement("""
INSERT INTO facts (fact_id, user_id, slot, fact, valid_from, valid_to, superseded_by, created_at)
SELECT f.id, CAST(:user_id AS varchar), f.slot, f.fact, f.begun, f.ended, f.superseder, CAST(:now AS timestamptz)
FROM unnest(
  CAST(:ids AS varchar[]), CAST(:slots AS bigint[]), CAST(:facts AS bytea[]), CAST(:begun AS timestamptz[]),
  CAST(:ended AS timestamptz[]), CAST(:superseders AS varchar[])
) AS f (id, slot, fact, begun, ended, superseder)
""")
_LINK = Statement("""
INSERT INTO fact_sources (fact_id, message_id)
SELECT l.fact_id, l.message_id FROM unnest(CAST(:fact_ids AS varchar[]), CAST(:message_ids AS varchar[]))
  AS l (fact_id, message_id)
JOIN facts AS f ON f.fact_id = l.fact_id AND f.user_id = :user_id
ON CONFLICT DO NOTHING
""")
_CHANGE = Statement("""
UPDATE facts AS f SET
  valid_to = c.ended, superseded_by = c.superseder, valid_from = coalesce(c.begun, f.valid_from)
FROM unnest(
  CAST(:ids AS varchar[]), CAST(:begun AS timestamptz[]), CAST(:ended AS timestamptz[]),
  CAST(:superseders AS varchar[])
) AS c (id, begun, ended, superseder)
WHERE f.fact_id = c.id AND f.user_id = :user_id
""")
_REWRITE = Statement("""
UPDATE facts SET slot = :slot, fact = :fact WHERE fact_id = :fact_id AND user_id = :user_id
""")
_BEYOND = Statement("""
SELECT fact_id FROM facts WHERE user_id = :user_id
ORDER BY superseded_by IS NOT NULL, valid_from DESC, fact_id DESC OFFSET :most
""")


async def known(driver: Any, user_id: str, ids: Collection[str]) -> set[str]:
    """The user's own facts among them."""
    return {row[0] for row in await _KNOWN.fetch(driver, user_id=user_id, ids=list(ids))}


async def hold_user(driver: Any, user_id: str) -> None:
    """Holds off forgettings of the user's until the commit, in the order in which they take their locks."""
    await _HOLD_USER.fetch(driver, user_id=user_id)


async def hold_sources(driver: Any, user_id: str, versions: Mapping[str, int | None]) -> set[str]:
    """The user's own memories among them that may be drawn on and are still of the version that was read, where that
    is known; none of them goes or changes before the commit."""
    rows = await _SOURCES.fetch(driver, user_id=user_id, ids=list(versions), versions=list(versions.values()))
    return {row[0] for row in rows}


async def keep(driver: Any, user_id: str, new: Sequence[NewFact], now: datetime) -> None:
    """Their rows, without sources yet."""
    await _KEEP.fetch(
        driver,
        user_id=user_id,
        ids=[fact.fact_id for fact in new],
        slots=[fact.slot for fact in new],
        facts=[fact.fact for fact in new],
        begun=[fact.valid_from for fact in new],
        ended=[fact.valid_to for fact in new],
        superseders=[fact.superseded_by for fact in new],
        now=now,
    )


async def link(driver: Any, user_id: str, links: Sequence[tuple[str, str]]) -> None:
    """Facts to the memories that they were drawn from."""
    await _LINK.fetch(
        driver, user_id=user_id, fact_ids=[fact for fact, _ in links], message_ids=[memory for _, memory in links]
    )


async def change(driver: Any, user_id: str, changes: Sequence[FactChange]) -> None:
    """Their ends (and, where it is given, their beginning)."""
    await _CHANGE.fetch(
        driver,
        user_id=user_id,
        ids=[change.id for change in changes],
        begun=[change.valid_from for change in changes],
        ended=[change.valid_to for change in changes],
        superseders=[change.superseded_by for change in changes],
    )


async def rewrite(driver: Any, user_id: str, fact_id: str, slot: int, fact: bytes) -> None:
    """Its words, under another key."""
    await _REWRITE.fetch(driver, user_id=user_id, fact_id=fact_id, slot=slot, fact=fact)


async def beyond(driver: Any, user_id: str, most: int) -> list[str]:
    """The facts that are too many: the oldest that no longer hold, and only then others."""
    return [row[0] for row in await _BEYOND.fetch(driver, user_id=user_id, most=most)]
