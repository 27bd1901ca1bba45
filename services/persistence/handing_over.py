"""Handing the trainer what may be trained on: opened as for an export, in pieces; consent is asked for each page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime

from libs.shared.contracts.material import Chosen, Exchange, MaterialChunk, TrainingMaterial
from libs.shared.errors import UserNotFound
from libs.shared.extractive import is_extractive
from libs.shared.sealing import Unreadable
from libs.shared.telemetry import get_logger
from services.persistence.exchanges import opened
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, material, trained
from services.persistence.repositories.material import SealedTurn
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.slot_file import KeyGone

log = get_logger(__name__)

_TURNS_AT_ONCE = 64
_CHUNK_CHARACTERS = 128 * 1024
EXTRACTIVE = "extractive"
"""As a turn's model: no model answered."""


async def hand_over(request: TrainingMaterial, parts: Parts) -> AsyncIterator[MaterialChunk]:
    """Everything that may be trained on now. What is withdrawn or forgotten meanwhile is not given any more."""
    async with parts.database.plainly() as driver:
        owners = await material.owners(driver, request.owners)
        seen = await trained.conversations_in(driver, request.unseen_by) if request.unseen_by else frozenset()
    given = 0
    for user_id, name in owners:
        async for found in _of_owner(user_id, name, request.chosen, parts):
            exchanges = [one for one in found if not seen or _hash(one, parts.keys) not in seen]
            for chunk in chunks(exchanges):
                yield chunk
            given += len(exchanges)
    log.info("material_handed_over", owners=len(owners), exchanges=given)


def _hash(exchange: Exchange, keys: KeyRing) -> bytes:
    return trained.commitment(keys, trained.Kind.CONVERSATION, exchange.conversation_id)


async def _of_owner(user_id: str, name: str, chosen: Chosen, parts: Parts) -> AsyncIterator[list[Exchange]]:
    after: tuple[datetime, int] | None = None
    rated_up = chosen is Chosen.RATED_UP
    while True:
        try:
            async with parts.database.plainly() as driver:
                user = await accounts.keys_of(driver, parts.keys, user_id)
                turns = await material.page(driver, user_id, after, _TURNS_AT_ONCE, rated_up=rated_up)
        except (UserNotFound, KeyGone, Unreadable):
            return  # the account went meanwhile, or its key is lost
        if turns:
            yield await asyncio.to_thread(_opened, turns, user_id, name, parts.keys, user)
        if len(turns) < _TURNS_AT_ONCE:
            return
        after = (turns[-1].at, turns[-1].ordinal)


def _opened(turns: Sequence[SealedTurn], user_id: str, name: str, keys: KeyRing, user: UserKeys) -> list[Exchange]:
    found = (_exchange(turn, user_id, name, keys, user) for turn in turns)
    return [exchange for exchange in found if exchange is not None]


def _exchange(turn: SealedTurn, user_id: str, name: str, keys: KeyRing, user: UserKeys) -> Exchange | None:
    """None where question or answer was forgotten, or can't be read any more."""
    said = opened(turn.said, keys, user)
    if said is None:
        return None
    return Exchange(
        turn_id=turn.turn_id,
        conversation_id=turn.conversation_id,
        owner=user_id,
        owner_name=name,
        version=turn.slot,
        question=said.question,
        answer=said.answer,
        at=turn.at,
        rating=turn.thumb,
        partial=turn.partial,
        quoted=turn.model == EXTRACTIVE or is_extractive(said.answer),
        model=turn.model,
    )


def chunks(exchanges: Sequence[Exchange]) -> Iterator[MaterialChunk]:
    """Several together, until they are long enough; one that is longer by itself goes alone. Pure."""
    held: list[Exchange] = []
    characters = 0
    for exchange in exchanges:
        length = len(exchange.question) + len(exchange.answer)
        if held and characters + length > _CHUNK_CHARACTERS:
            yield MaterialChunk(exchanges=tuple(held))
            held, characters = [], 0
        held.append(exchange)
        characters += length
    if held:
        yield MaterialChunk(exchanges=tuple(held))
