"""What was asked, for whoever replays it: only while its asker allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from libs.shared.contracts.replay import Allowed, AskedRead, AskedTurn, ReadAsked, StillAllowed
from libs.shared.errors import UserNotFound
from libs.shared.extractive import is_extractive
from libs.shared.sealing import Unreadable
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.exchanges import opened
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, asked
from services.persistence.repositories.asked import SealedQuestion
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.slot_file import KeyGone

MOST_CHARACTERS = 16_000
"""Of a question or an answer: nothing beyond is looked up, and a page of the longest fits the bus."""


async def read_asked(request: ReadAsked, parts: Parts) -> AskedRead:
    """A page over all who allow it."""
    after = decode_cursor(request.cursor, datetime, int) if request.cursor else None
    async with parts.database.plainly() as driver:
        found = await asked.page(driver, after, request)
        owners = {}
        for user_id in {one.user_id for one in found}:
            try:
                owners[user_id] = await accounts.keys_of(driver, parts.keys, user_id)
            except (UserNotFound, KeyGone, Unreadable):
                continue  # the account went meanwhile, or its key is lost
    asked_turns = await asyncio.to_thread(_opened, found, parts.keys, owners)
    told = tuple(one for one in asked_turns if request.whatever_answered or not is_extractive(one.answer))
    cursor = encode_cursor(found[-1].at, found[-1].ordinal) if len(found) == request.limit else None
    return AskedRead(asked=told, next_cursor=cursor)


async def still_allowed(request: StillAllowed, parts: Parts) -> Allowed:
    """Those that are there, and whose asker allows it now."""
    async with parts.database.plainly() as driver:
        return Allowed(turn_ids=tuple(await asked.still_allowed(driver, request.turn_ids)))


def _opened(found: Sequence[SealedQuestion], keys: KeyRing, owners: dict[str, UserKeys]) -> tuple[AskedTurn, ...]:
    told = (_asked(one, keys, owners[one.user_id]) for one in found if one.user_id in owners)
    return tuple(one for one in told if one is not None)


def _asked(one: SealedQuestion, keys: KeyRing, user: UserKeys) -> AskedTurn | None:
    """None where question or answer was forgotten, or can't be read any more."""
    said = opened(one.said, keys, user)
    if said is None:
        return None
    return AskedTurn(
        turn_id=one.turn_id,
        user_id=one.user_id,
        conversation_id=one.conversation_id,
        question=said.question[:MOST_CHARACTERS],
        answer=said.answer[:MOST_CHARACTERS],
        at=one.at,
    )
