"""``/api/v1/conversations``: one's own conversations, as the trees that they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field, model_validator
from starlette.responses import Response, StreamingResponse

from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.conversations import (
    CHANGE_CONVERSATION,
    DELETE_CONVERSATION,
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    ChangeConversation,
    Conversation,
    ConversationName,
    ConversationRead,
    ConversationRef,
    Conversations,
    ListConversations,
    ReadConversation,
)
from libs.shared.contracts.forgetting import Receipt
from libs.shared.contracts.turns import TurnMessage
from services.api.access import Access, permit_memory
from services.api.bodies import Body
from services.api.pages import PageOf, last_kept
from services.api.parts import Parts
from services.api.routing import CallerOf, Endpoint, PartsOf

ConversationId = Annotated[ConversationName, Path(description="Its id, or the one that its importer gave it")]
_EXPORT_PAGE = 200


class ConversationPatch(Body):
    """What is absent stays. The title is kept sealed; what isn't remembered is kept, and not recalled elsewhere."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    remembered: bool | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> ConversationPatch:
        if self.title is None and self.remembered is None:
            raise ValueError("Give a title or remembered")
        return self


async def list_conversations(parts: PartsOf, caller: CallerOf, page: PageOf) -> Conversations:
    """Most recently used first."""
    permit_memory(caller, MemoryMode.READ)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(
        LIST_CONVERSATIONS,
        ListConversations(user_id=caller.user_id, limit=page.limit, cursor=page.cursor, read_after=read_after),
    )


async def read_conversation(
    parts: PartsOf, caller: CallerOf, page: PageOf, conversation_id: ConversationId
) -> ConversationRead:
    """Its heading and a page of its messages, oldest first, every branch."""
    permit_memory(caller, MemoryMode.READ)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(
        READ_CONVERSATION,
        ReadConversation(
            user_id=caller.user_id,
            conversation_id=conversation_id,
            limit=page.limit,
            cursor=page.cursor,
            read_after=read_after,
        ),
    )


async def change_conversation(
    parts: PartsOf, caller: CallerOf, conversation_id: ConversationId, body: ConversationPatch
) -> Conversation:
    """Gives it a title, and says whether it is remembered."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    change = ChangeConversation(
        user_id=caller.user_id, conversation_id=conversation_id, title=body.title, remembered=body.remembered
    )
    return await parts.bus.request(CHANGE_CONVERSATION, change)


async def delete_conversation(parts: PartsOf, caller: CallerOf, conversation_id: ConversationId) -> Receipt:
    """Forgets it: its keys are overwritten and everything derived is removed; the receipt says what went."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(
        DELETE_CONVERSATION,
        ConversationRef(user_id=caller.user_id, conversation_id=conversation_id, read_after=read_after),
    )


async def export_conversation(
    parts: PartsOf,
    caller: CallerOf,
    conversation_id: ConversationId,
    format: Literal["json", "markdown"] = "json",
) -> Response:
    """All of it, as JSON or Markdown."""
    permit_memory(caller, MemoryMode.READ)
    read_after = await last_kept(parts, caller.user_id)
    wanted = ReadConversation(
        user_id=caller.user_id, conversation_id=conversation_id, limit=_EXPORT_PAGE, read_after=read_after
    )
    first = await parts.bus.request(READ_CONVERSATION, wanted)  # before the head, so that a refusal has its status
    render, kind, suffix = (
        (_as_json, "application/json", "json") if format == "json" else (_as_markdown, "text/markdown", "md")
    )
    return StreamingResponse(
        render(first.conversation, _messages(parts, wanted, first)),
        media_type=kind,
        headers={
            "Content-Disposition": f'attachment; filename="conversation-{first.conversation.conversation_id}.{suffix}"'
        },
    )


async def _messages(parts: Parts, wanted: ReadConversation, page: ConversationRead) -> AsyncIterator[TurnMessage]:
    while True:
        for message in page.messages:
            yield message
        if page.next_cursor is None:
            return
        page = await parts.bus.request(READ_CONVERSATION, wanted.model_copy(update={"cursor": page.next_cursor}))


async def _as_json(heading: Conversation, messages: AsyncIterator[TurnMessage]) -> AsyncIterator[str]:
    yield f'{{"conversation":{heading.model_dump_json()},"messages":['
    separator = ""
    async for message in messages:
        yield separator + message.model_dump_json()
        separator = ","
    yield "]}\n"


async def _as_markdown(heading: Conversation, messages: AsyncIterator[TurnMessage]) -> AsyncIterator[str]:
    yield f"# {heading.title or 'Conversation'}\n"
    async for message in messages:
        partial = " (broke off)" if message.partial else ""
        yield f"\n**{message.speaker}**, {message.at:%Y-%m-%d %H:%M} UTC{partial}\n\n{message.text}\n"


_OPTIONS: dict[str, Any] = {"tags": ["conversations"]}
_ONE = "/api/v1/conversations/{conversation_id}"
_EXPORT: dict[str, Any] = {
    **_OPTIONS,
    "response_class": StreamingResponse,
    "responses": {200: {"content": {"application/json": {}, "text/markdown": {}}}},
}
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/conversations",
        handler=list_conversations,
        access=Access.USER,
        options=_OPTIONS,
    ),
    Endpoint(method="GET", path=_ONE, handler=read_conversation, access=Access.USER, options=_OPTIONS),
    Endpoint(method="PATCH", path=_ONE, handler=change_conversation, access=Access.USER, options=_OPTIONS),
    Endpoint(method="DELETE", path=_ONE, handler=delete_conversation, access=Access.USER, options=_OPTIONS),
    Endpoint(method="GET", path=_ONE + "/export", handler=export_conversation, access=Access.USER, options=_EXPORT),
)
