"""``/api/v1/consents``: which of one's conversations may be trained on, who may use what was trained on them, and
whether one's questions may be replayed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, model_validator

from libs.shared.contracts.common import Id, MemoryMode
from libs.shared.contracts.material import LIST_TRAINED, ListTrained, TrainedAdapter
from libs.shared.contracts.ratings import (
    CHANGE_TRAINING_CHOICES,
    LIST_CONSENTS,
    SET_CONSENT,
    ChangeTrainingChoices,
    Consents,
    ConsentSet,
    ListConsents,
    SetConsent,
    TrainingChoicesChanged,
)
from services.api.access import Access, permit_memory
from services.api.bodies import Body
from services.api.pages import PageOf, last_kept
from services.api.routing import CallerOf, Endpoint, PartsOf

ConversationId = Annotated[Id, Path()]


class ChoicesPatch(Body):
    """What is absent stays. Both are off until they are switched on.

    ``future``: conversations that begin from now on may be trained on; taken back, it withdraws those that it alone had
    allowed. ``share_adapters``: others may use an adapter that one's words trained. ``tuning``: questions that one
    asked may be replayed, on this machine, to tune how memories are found; taken back, none is from then on.
    """

    future: bool | None = None
    share_adapters: bool | None = None
    tuning: bool | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> ChoicesPatch:
        if self.future is None and self.share_adapters is None and self.tuning is None:
            raise ValueError("Give future, share_adapters or tuning")
        return self


class Decision(Body):
    """Whether the conversation may be trained on."""

    allowed: bool


class OwnAdapter(BaseModel):
    """An adapter that one's words trained. Whose words are beside them isn't told, nor whose are tainted."""

    adapter: str
    others: int
    """How many other people's words are in it."""
    shared: bool
    """Everybody may use it, as each of those people agreed."""
    tainted_since: datetime | None
    """Since then something that it was trained on may no longer be used; null: all of it may."""
    recorded_at: datetime


class OwnAdapters(BaseModel):
    """A page."""

    adapters: list[OwnAdapter]
    next_cursor: str | None = None


async def list_consents(
    parts: PartsOf,
    caller: CallerOf,
    page: PageOf,
    allowed: Annotated[bool | None, Query(description="Only those that may be trained on, or only the others")] = None,
) -> Consents:
    """What holds for all, and a page of one's conversations, most recently used first."""
    permit_memory(caller, MemoryMode.READ)
    read_after = await last_kept(parts, caller.user_id)
    listing = ListConsents(
        user_id=caller.user_id, allowed=allowed, limit=page.limit, cursor=page.cursor, read_after=read_after
    )
    return await parts.bus.request(LIST_CONSENTS, listing)


async def change_choices(parts: PartsOf, caller: CallerOf, body: ChoicesPatch) -> TrainingChoicesChanged:
    """Changes what holds for all of one's conversations; names the adapters that this taints."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    change = ChangeTrainingChoices(
        user_id=caller.user_id, future=body.future, share_adapters=body.share_adapters, tuning=body.tuning
    )
    return await parts.bus.request(CHANGE_TRAINING_CHOICES, change)


async def set_consent(parts: PartsOf, caller: CallerOf, conversation_id: ConversationId, body: Decision) -> ConsentSet:
    """Allows training on a conversation, or withdraws it at once; names the adapters that this taints."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    read_after = await last_kept(parts, caller.user_id)
    decision = SetConsent(
        user_id=caller.user_id, conversation_id=conversation_id, allowed=body.allowed, read_after=read_after
    )
    return await parts.bus.request(SET_CONSENT, decision)


async def list_own_adapters(parts: PartsOf, caller: CallerOf, page: PageOf) -> OwnAdapters:
    """What was trained on one's words, by name, and whether it is tainted."""
    permit_memory(caller, MemoryMode.READ)
    listing = ListTrained(owner=caller.user_id, limit=page.limit, cursor=page.cursor)
    found = await parts.bus.request(LIST_TRAINED, listing)
    return OwnAdapters(adapters=[_own(one) for one in found.adapters], next_cursor=found.next_cursor)


def _own(one: TrainedAdapter) -> OwnAdapter:
    return OwnAdapter(
        adapter=one.adapter,
        others=len(one.owners) - 1,
        shared=one.shared,
        tainted_since=one.taints[0].at if one.taints else None,
        recorded_at=one.recorded_at,
    )


_OPTIONS: dict[str, Any] = {"tags": ["training"]}
_ALL = "/api/v1/consents"
ENDPOINTS = (
    Endpoint(method="GET", path=_ALL, handler=list_consents, access=Access.USER, options=_OPTIONS),
    Endpoint(method="GET", path=_ALL + "/adapters", handler=list_own_adapters, access=Access.USER, options=_OPTIONS),
    Endpoint(method="PATCH", path=_ALL, handler=change_choices, access=Access.USER, options=_OPTIONS),
    Endpoint(method="PUT", path=_ALL + "/{conversation_id}", handler=set_consent, access=Access.USER, options=_OPTIONS),
)
