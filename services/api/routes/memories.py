"""``/api/v1/memories``: one's own memory: searched, listed, added to, edited, forgotten."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from libs.shared.contracts.common import Id, MemoryMode
from libs.shared.contracts.forgetting import Receipt
from libs.shared.contracts.memory import (
    ADD_MEMORY,
    EDIT_MEMORY,
    FORGET_EVERYTHING,
    FORGET_MEMORY,
    LIST_MEMORIES,
    LONGEST_MEMORY,
    MOST_IMPORTED,
    READ_MEMORY,
    SEARCH_MEMORY,
    AddMemory,
    EditMemory,
    ImportedTurn,
    ListMemories,
    Memories,
    MemoryItem,
    MemoryItems,
    MemoryKind,
    MemoryRef,
    SearchMemory,
    UserMemory,
)
from libs.shared.errors import InvalidRequest
from services.api.access import Access, permit_memory
from services.api.bodies import Body, invalid, read_body
from services.api.body_limits import Held, Room
from services.api.clients import WhileConnected
from services.api.imports import import_turns
from services.api.moments import Moment
from services.api.pages import PageOf, last_kept
from services.api.routing import CallerOf, Endpoint, PartsOf, caller_of, parts_of
from services.api.settings import ApiSettings

MemoryId = Annotated[Id, Path()]
Importance = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_MEMORY)]
_LONGEST_NAMED = 256


class NewMemory(Body):
    """A note. ``at`` without an offset is taken as UTC; None is now."""

    text: Text
    at: Moment | None = None
    pinned: bool = False
    importance: Importance | None = None


class MemoryPatch(Body):
    """What is absent stays. A new text is sealed under a new key, and the old one's is destroyed."""

    text: Text | None = None
    pinned: bool | None = None
    importance: Importance | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> MemoryPatch:
        if self.text is None and self.pinned is None and self.importance is None:
            raise ValueError("Give a text, pinned or importance")
        return self


class NewTurn(Body):
    """Something that was said elsewhere. ``at`` without an offset is taken as UTC."""

    id: str = Field(min_length=1, max_length=256, description="The importer's; the same id is imported once")
    conversation_id: str = Field(min_length=1, max_length=256)
    speaker: str = Field(min_length=1, max_length=128, description="user, assistant, or a name")
    text: Text
    at: Moment


class Turns(Body):
    """All of them are imported, or none."""

    turns: tuple[NewTurn, ...] = Field(min_length=1, max_length=MOST_IMPORTED)


async def find_memories(
    parts: PartsOf,
    caller: CallerOf,
    page: PageOf,
    q: Annotated[
        str | None, Query(min_length=1, max_length=8192, description="The question, in your words; without it: a list")
    ] = None,
    k: Annotated[int, Query(ge=1, le=100, description="Most memories that a search finds")] = 10,
    budget_tokens: Annotated[
        int | None, Query(ge=1, le=100_000, description="As many of the best as fit, by estimate; k still bounds them")
    ] = None,
    explain: Annotated[bool, Query(description="Tells the parts of every score, and what was understood")] = False,
    now: Annotated[
        Moment | None, Query(description="The asker's clock, with its offset: what “yesterday” is counted from")
    ] = None,
    kind: Annotated[MemoryKind | None, Query(description="Of a list; without it: all but facts")] = None,
    pinned: Annotated[bool | None, Query(description="Of a list")] = None,
    current: Annotated[
        bool | None, Query(description="Of a list of facts: those that still hold, or no longer")
    ] = None,
) -> MemoryItems | Memories:
    """With ``q`` a search: best first, with scores. Without: everything, newest first, a page at a time."""
    permit_memory(caller, MemoryMode.READ)
    read_after = await last_kept(parts, caller.user_id)
    if q is None:
        listing = ListMemories(
            user_id=caller.user_id,
            kind=kind,
            pinned=pinned,
            current=current,
            limit=page.limit,
            cursor=page.cursor,
            read_after=read_after,
        )
        return await parts.bus.request(LIST_MEMORIES, listing)
    await parts.preemption.tell("search")
    question = SearchMemory(
        user_id=caller.user_id,
        query=q,
        k=k,
        budget_tokens=budget_tokens,
        explain=explain,
        now=now,
        read_after=read_after,
    )
    return await parts.bus.request(SEARCH_MEMORY, question)


async def add_memory(parts: PartsOf, caller: CallerOf, body: NewMemory) -> MemoryItem:
    """Keeps a note; it is found from now on."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    note = AddMemory(user_id=caller.user_id, text=body.text, at=body.at, pinned=body.pinned, importance=body.importance)
    return await parts.bus.request(ADD_MEMORY, note)


async def read_memory(parts: PartsOf, caller: CallerOf, memory_id: MemoryId) -> MemoryItem:
    """One memory, or one fact."""
    permit_memory(caller, MemoryMode.READ)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(READ_MEMORY, MemoryRef(user_id=caller.user_id, id=memory_id, read_after=read_after))


async def edit_memory(parts: PartsOf, caller: CallerOf, memory_id: MemoryId, body: MemoryPatch) -> MemoryItem:
    """Changes a memory's text, importance, or whether it is pinned."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    edit = EditMemory(
        user_id=caller.user_id, id=memory_id, text=body.text, pinned=body.pinned, importance=body.importance
    )
    return await parts.bus.request(EDIT_MEMORY, edit)


async def forget_memory(parts: PartsOf, caller: CallerOf, memory_id: MemoryId) -> Receipt:
    """Forgets one memory and everything that was drawn from it; the receipt says what went."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(
        FORGET_MEMORY, MemoryRef(user_id=caller.user_id, id=memory_id, read_after=read_after)
    )


async def forget_everything(
    parts: PartsOf,
    caller: CallerOf,
    confirm: Annotated[
        Literal["everything"], Query(description="Has to be there: what is forgotten can't be brought back")
    ],
) -> Receipt:
    """Forgets all conversations, notes, documents and facts; the account stays."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(FORGET_EVERYTHING, UserMemory(user_id=caller.user_id, read_after=read_after))


async def import_memories(request: Request) -> Response:
    """Imports up to 1,000 dated turns, all or none, and answers when they can be searched; a repeat changes nothing."""
    parts, caller = parts_of(request), caller_of(request)
    permit_memory(caller, MemoryMode.READ_WRITE)
    turns = parse_turns(await read_body(request.receive))
    async with WhileConnected(request.receive):
        imported = await import_turns(parts, caller.user_id, turns)
    return JSONResponse(imported.model_dump(mode="json"))


def parse_turns(body: bytes) -> tuple[ImportedTurn, ...]:
    """Raises InvalidRequest, which names the place and the id of the first turn that is wrong."""
    try:
        turns = Turns.model_validate_json(body).turns
    except ValidationError as error:
        raise _placed(invalid(error), body, error) from None
    return tuple(ImportedTurn(**dict(turn)) for turn in turns)


def _placed(refusal: InvalidRequest, body: bytes, error: ValidationError) -> InvalidRequest:
    location = error.errors(include_url=False, include_input=False, include_context=False)[0]["loc"]
    if len(location) < 2 or location[0] != "turns" or not isinstance(location[1], int):
        return refusal
    place = location[1]
    turn = json.loads(body)["turns"][place]
    named = turn.get("id") if isinstance(turn, dict) else None
    who = f" ({named!r})" if isinstance(named, str) and 0 < len(named) <= _LONGEST_NAMED else ""
    return InvalidRequest(f"turn {place + 1}{who}: {refusal.detail}; nothing was imported", **refusal.data)


_IMPORTS_HELD = Held(3)


def _import_room(settings: ApiSettings) -> Room:
    return Room(
        body_bytes=settings.import_limit_bytes,
        body_s=settings.upload_timeout_s,
        request_s=settings.request_timeout_s,
        held=_IMPORTS_HELD,
    )


_OPTIONS: dict[str, Any] = {"tags": ["memories"]}
_ALL = "/api/v1/memories"
_ONE = _ALL + "/{memory_id}"
ENDPOINTS = (
    Endpoint(method="GET", path=_ALL, handler=find_memories, access=Access.USER, options=_OPTIONS),
    Endpoint(method="POST", path=_ALL, handler=add_memory, access=Access.USER, status=201, options=_OPTIONS),
    Endpoint(method="DELETE", path=_ALL, handler=forget_everything, access=Access.USER, options=_OPTIONS),
    Endpoint(
        method="POST",
        path=_ALL + "/import",
        handler=import_memories,
        access=Access.USER,
        plain=True,
        body=Turns,
        room=_import_room,
        options=_OPTIONS,
    ),
)
ONE_ENDPOINTS = (
    Endpoint(method="GET", path=_ONE, handler=read_memory, access=Access.USER, options=_OPTIONS),
    Endpoint(method="PATCH", path=_ONE, handler=edit_memory, access=Access.USER, options=_OPTIONS),
    Endpoint(method="DELETE", path=_ONE, handler=forget_memory, access=Access.USER, options=_OPTIONS),
)
"""After every other path below ``/api/v1/memories``: an id could be any word."""
