"""Telling where a turn belongs whose client resends its history instead of naming a conversation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.turns import Joined, JoinTurn
from services.persistence.derived_ids import chat_conversation_id, said_hash
from services.persistence.joining import Heard, comparable, place_of
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, joining
from services.persistence.sealing import UserKeys

AGAIN_S = 600.0
"""A first message that comes again so soon was sent again, or another answer to it is wanted."""
_LIVES = 8
"""How often a chat can be forgotten and go on under its client's name; after that it begins nameless conversations."""


async def join_turn(request: JoinTurn, parts: Parts) -> Joined:
    """The conversation and the message that the turn answers to."""
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        named, exists = await _named(driver, request, user)
        if (found := await _by_history(driver, request, user, named if exists else None)) is not None:
            return found
        if named is not None:
            return Joined(conversation_id=named)
        return Joined(conversation_id=await _by_first_message(driver, request, user, parts))


async def _named(driver: Any, request: JoinTurn, user: UserKeys) -> tuple[str | None, bool]:
    """What the client's name for the conversation stands for, and whether it is there already."""
    if request.chat is None:
        return None, False
    ids = [chat_conversation_id(user, request.chat, number) for number in range(_LIVES)]
    taken = await joining.taken(driver, request.user_id, ids)
    free = next((one for one in ids if taken.get(one) is not False), None)
    return free, free is not None and free in taken


async def _by_history(driver: Any, request: JoinTurn, user: UserKeys, within: str | None) -> Joined | None:
    history = [Heard(said_hash(user, one.speaker, one.text), len(comparable(one.text))) for one in request.before]
    hashes = {one.said_hash for one in history if one.said_hash is not None}
    if not hashes:
        return None
    place = place_of(history, await joining.places(driver, request.user_id, list(hashes), within))
    return Joined(conversation_id=place.conversation_id, parent_id=place.message_id) if place else None


async def _by_first_message(driver: Any, request: JoinTurn, user: UserKeys, parts: Parts) -> str | None:
    if not request.again or request.before or len(request.said) != 1:
        return None
    hashed = said_hash(user, Speaker.USER, request.said[0])
    if hashed is None:
        return None
    since = parts.clock() - timedelta(seconds=AGAIN_S)
    return await joining.begun(driver, request.user_id, hashed, since)
