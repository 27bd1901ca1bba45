"""Memories, still sealed: messages, notes and passages with what is known of them, always within one user."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.persistence.postgres import Statement
from services.persistence.repositories.removal import SealedSibling

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


_FROM = " ".join(("SELECT", COLUMNS, "FROM", SOURCE))
_SELECT = _FROM + " WHERE m.user_id = :user_id"
# Materialised, since right after an import the planner, without figures yet, would walk all of the user's messages.
_CHOSEN = "WITH chosen AS MATERIALIZED (SELECT * FROM messages WHERE ordinal = ANY(CAST(:ordinals AS bigint[])))"
_BY_ORDINAL = Statement(" ".join((_CHOSEN, _SELECT.replace("messages AS m", "chosen AS m"))))
_BY_ID = Statement(_SELECT + " AND m.message_id = ANY(CAST(:ids AS varchar[]))")


async def by_ordinal(driver: Any, user_id: str, ordinals: Sequence[int]) -> list[SealedMemory]:
    """The user's own among them, in the order asked."""
    rows = await _BY_ORDINAL.fetch(driver, user_id=user_id, ordinals=list(ordinals))
    found = {row[1]: SealedMemory(*row) for row in rows}
    return [found[ordinal] for ordinal in ordinals if ordinal in found]


async def by_id(driver: Any, user_id: str, ids: Collection[str]) -> list[SealedMemory]:
    """The user's own among them, in no order."""
    return [SealedMemory(*row) for row in await _BY_ID.fetch(driver, user_id=user_id, ids=list(ids))]


_OF_TURN = Statement("""
SELECT message_id, slot, text, about FROM messages WHERE turn_id = :turn_id AND user_id = :user_id
ORDER BY ordinal FOR UPDATE
""")
_IDS_OF_TURN = Statement("""
SELECT m.message_id FROM messages AS m JOIN messages AS one USING (turn_id)
WHERE one.message_id = :message_id AND one.user_id = :user_id ORDER BY m.ordinal
""")
_STATE = Statement("SELECT pinned, importance FROM memory_states WHERE message_id = :id AND user_id = :user_id")


async def of_turn(driver: Any, user_id: str, turn_id: str) -> list[SealedSibling]:
    """Everything that the turn's key seals, locked until the commit."""
    return [SealedSibling(*row) for row in await _OF_TURN.fetch(driver, user_id=user_id, turn_id=turn_id)]


async def ids_of_turn(driver: Any, user_id: str, message_id: str) -> list[str]:
    """The memory, and what was said with it."""
    return [row[0] for row in await _IDS_OF_TURN.fetch(driver, user_id=user_id, message_id=message_id)]


async def chosen(driver: Any, user_id: str, message_id: str) -> tuple[bool, float | None]:
    """Whether its user pinned it, and how important they said it is."""
    rows = await _STATE.fetch(driver, user_id=user_id, id=message_id)
    return (rows[0][0], rows[0][1]) if rows else (False, None)


@dataclass(frozen=True)
class Listing:
    """Which memories a page shows."""

    kind: str | None
    pinned: bool | None
    within: str | None
    """Of this kind of conversations alone: notes and passages stand in their own, and are few."""
    before: tuple[datetime, int] | None
    """The last of the page before, by when it was said and its ordinal."""
    most: int


_LIST = """
 AND (CAST(:kind AS varchar) IS NULL OR m.kind = :kind)
 AND (CAST(:pinned AS boolean) IS NULL OR coalesce(s.pinned, false) = :pinned)
 AND (m.at, m.ordinal) < (CAST(:at AS timestamptz), CAST(:ordinal AS bigint))
ORDER BY m.at DESC, m.ordinal DESC LIMIT :most
"""
_LISTED = Statement(_SELECT + _LIST)
# by the conversations' owner: by the messages' the planner would walk through all of them
_LISTED_WITHIN = Statement(" ".join((_FROM, "WHERE c.user_id = :user_id AND c.kind = :within", _LIST)))
_PINNED = Statement(
    " ".join((_SELECT, "AND m.message_id IN (SELECT message_id FROM memory_states WHERE user_id = :user_id)", _LIST))
)
_LATEST = (datetime.max.replace(tzinfo=UTC), 2**63 - 1)


async def listed(driver: Any, user_id: str, listing: Listing) -> list[SealedMemory]:
    """Newest first, one more than ``most`` where there are more."""
    at, ordinal = listing.before or _LATEST
    values: dict[str, Any] = {"user_id": user_id, "kind": listing.kind, "pinned": listing.pinned}
    values |= {"at": at, "ordinal": ordinal, "most": listing.most + 1}
    if listing.within is not None:
        rows = await _LISTED_WITHIN.fetch(driver, within=listing.within, **values)
    else:
        rows = await (_PINNED if listing.pinned else _LISTED).fetch(driver, **values)
    return [SealedMemory(*row) for row in rows]
