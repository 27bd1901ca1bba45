"""Conversations as their user sees them: listed, read, and named under a key of their own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from libs.shared.contracts.conversations import (
    CHANGE_CONVERSATION,
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    ChangeConversation,
    Conversations,
    ListConversations,
    ReadConversation,
)
from libs.shared.errors import ConversationNotFound, InvalidRequest
from tests.integration.persistence.test_forgetting import sealed_values
from tests.support.persistence import START, Client, RunningPersistence


async def list_them(client: Client, user_id: str, limit: int = 50, cursor: str | None = None) -> Conversations:
    return await client.bus.request(LIST_CONVERSATIONS, ListConversations(user_id=user_id, limit=limit, cursor=cursor))


async def test_conversations_are_listed_by_last_use_page_by_page(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    for n in (2, 0, 3, 1):
        turn = await client.turn(user_id, f"c{n}", "q", "a", at=START + timedelta(hours=n))
        position = await client.publish(turn)
    await persistence.parts.watermark.wait_for(position)
    first = await list_them(client, user_id, limit=3)
    second = await list_them(client, user_id, limit=3, cursor=first.next_cursor)
    assert [c.conversation_id for c in first.conversations + second.conversations] == ["c3", "c2", "c1", "c0"]
    assert second.next_cursor is None
    assert (await list_them(client, await client.user())).conversations == ()


async def test_a_conversation_is_read_page_by_page(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    for n in range(3):
        _, position = await client.say(user_id, "c1", f"q{n}", f"a{n}")
    await persistence.parts.watermark.wait_for(position)
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(2):
        request = ReadConversation(user_id=user_id, conversation_id="c1", limit=4, cursor=cursor)
        page = await client.bus.request(READ_CONVERSATION, request)
        seen += [message.text for message in page.messages]
        cursor = page.next_cursor
    assert seen == ["q0", "a0", "q1", "a1", "q2", "a2"]
    assert cursor is None
    with pytest.raises(InvalidRequest):
        await list_them(client, user_id, cursor="nonsense")


async def test_a_title_is_sealed_and_its_key_replaced(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    _, position = await client.say(user_id, "c1", "q", "a")
    await persistence.parts.watermark.wait_for(position)
    before = persistence.parts.keys.slots.used
    for title in ("canary-title", "second"):
        request = ChangeConversation(user_id=user_id, conversation_id="c1", title=title)
        assert (await client.bus.request(CHANGE_CONVERSATION, request)).title == title
        assert "canary-title" not in repr(await sealed_values(persistence))
    assert (await list_them(client, user_id)).conversations[0].title == "second"
    with pytest.raises(ConversationNotFound):
        await client.bus.request(
            CHANGE_CONVERSATION, ChangeConversation(user_id=other, conversation_id="c1", title="stolen")
        )
    assert len(persistence.parts.keys.slots.used - before) == 1
