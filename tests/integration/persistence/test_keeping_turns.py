"""Turns from the stream: kept once, in order, readable by those who wait for them."""

from __future__ import annotations

from libs.shared.contracts.common import Position
from libs.shared.contracts.turns import READ_TURNS, ReadTurns, TurnMessages
from tests.support.persistence import Client


async def read(client: Client, user_id: str, conversation_id: str, read_after: Position | None = None) -> TurnMessages:
    request = ReadTurns(user_id=user_id, conversation_id=conversation_id, read_after=read_after)
    return await client.cognition.request(READ_TURNS, request)


async def test_a_kept_turn_is_readable_by_who_waits_for_it(client: Client) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "my cat is called Ada", "noted")
    found = await read(client, user_id, "c1", read_after=position)
    assert [m.text for m in found.messages] == ["my cat is called Ada", "noted"]
    assert found.messages[1].parent_id == found.messages[0].message_id
