"""What may be trained on: read, allowed, and withdrawn with all that it taints."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from libs.shared.contracts.ratings import (
    ChangeTrainingChoices,
    Consents,
    ConsentSet,
    ConversationConsent,
    ListConsents,
    SetConsent,
    TrainingChoices,
    TrainingChoicesChanged,
)
from libs.shared.errors import ConversationNotFound, UserNotFound
from services.persistence.announcing import announce_memory_changed, announce_standing
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.opening import open_title
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, consents, trained
from services.persistence.repositories.consents import Decision
from services.persistence.repositories.trained import Cause, Kind
from services.persistence.sealing import KeyRing, UserKeys


async def list_consents(request: ListConsents, parts: Parts) -> Consents:
    """A page of the user's conversations with what may be done with them."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        choices = await consents.choices(driver, request.user_id)
        found = await consents.decisions(driver, request.user_id, request.allowed, request.limit, before)
    shown = found[: request.limit]
    cursor = encode_cursor(shown[-1].updated_at, shown[-1].conversation_id) if len(found) > len(shown) else None
    told = tuple(_consent(parts.keys, user, one) for one in shown)
    return Consents(choices=choices, conversations=told, next_cursor=cursor)


async def set_consent(request: SetConsent, parts: Parts) -> ConsentSet:
    """Allows training on a conversation, or withdraws it. Raises ConversationNotFound, NotYetApplied."""
    await parts.watermark.wait_for(request.read_after)
    async with parts.database.writing() as driver:
        await _hold(driver, request.user_id)
        where = (request.user_id, request.conversation_id)
        if not await consents.decide(driver, *where, request.allowed, parts.clock()):
            raise ConversationNotFound("there is no such conversation here that could be trained on")
        tainted = () if request.allowed else await _withdraw(driver, [request.conversation_id], parts)
        decision = await consents.decision(driver, *where)
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    await announce_standing(parts.bus, tainted)
    assert decision is not None
    return ConsentSet(consent=_consent(parts.keys, user, decision), tainted_adapters=tainted)


async def change_training_choices(request: ChangeTrainingChoices, parts: Parts) -> TrainingChoicesChanged:
    """Sets what is given; what only ``future`` had allowed is withdrawn with it. Raises UserNotFound."""
    async with parts.database.writing() as driver:
        await _hold(driver, request.user_id)
        before = await consents.choices(driver, request.user_id)
        after = chosen(before, request, parts.clock())
        tainted: tuple[str, ...] = ()
        if before.future_since is not None and after.future_since is None:
            withdrawn = await consents.allowed_by_default(driver, request.user_id, before.future_since)
            tainted = await _withdraw(driver, withdrawn, parts)
        await consents.choose(driver, request.user_id, after)
        told = set(tainted)
        if before.share_adapters != after.share_adapters:
            told |= set(await trained.adapters_of_owner(driver, request.user_id))
    await announce_standing(parts.bus, told)
    if before.tuning and not after.tuning:
        await announce_memory_changed(parts.bus, request.user_id)  # what was prepared of their questions goes
    return TrainingChoicesChanged(choices=after, tainted_adapters=tainted)


def chosen(before: TrainingChoices, request: ChangeTrainingChoices, now: datetime) -> TrainingChoices:
    """The choices after a change. What is on already stays on since when it was. Pure."""
    future = before.future if request.future is None else request.future
    share = before.share_adapters if request.share_adapters is None else request.share_adapters
    since = (before.future_since or now) if future else None
    tuning = before.tuning if request.tuning is None else request.tuning
    return TrainingChoices(future=future, future_since=since, share_adapters=share, tuning=tuning)


async def _hold(driver: Any, user_id: str) -> None:
    if not await trained.hold_owners(driver, [user_id]):
        raise UserNotFound("there is no such account")


async def _withdraw(driver: Any, conversation_ids: list[str], parts: Parts) -> tuple[str, ...]:
    return await trained.taint(driver, parts.keys, Kind.CONVERSATION, conversation_ids, Cause.WITHDRAWN, parts.clock())


def _consent(keys: KeyRing, user: UserKeys, row: Decision) -> ConversationConsent:
    return ConversationConsent(
        conversation_id=row.conversation_id,
        title=open_title(keys, user, row.title, row.title_slot),
        messages=row.messages,
        allowed=row.allowed,
        decided=row.decided,
        decided_at=row.decided_at,
        remembered=row.remembered,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
