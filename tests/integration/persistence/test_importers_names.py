"""Conversations named as their importer names them, and documents read in their order."""

from __future__ import annotations

import pytest

from libs.shared.contracts.conversations import (
    DELETE_CONVERSATION,
    READ_CONVERSATION,
    ConversationRef,
    ReadConversation,
)
from libs.shared.contracts.keeping import KEEP_DOCUMENT, KeepDocument, Passage
from libs.shared.errors import ConversationNotFound
from services.persistence.repositories import keeping
from tests.support.persistence import START, Client, imported


async def texts(client: Client, user_id: str, name: str) -> list[tuple[str, int | None]]:
    request = ReadConversation(user_id=user_id, conversation_id=name)
    found = await client.bus.request(READ_CONVERSATION, request)
    return [(message.text, message.page) for message in found.messages]


async def test_a_conversation_is_forgotten_by_its_importers_name(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    kept = await client.import_turns(user_id, imported("1", "where to?", within="été 1/2"))
    await client.import_turns(other, imported("1", "theirs", within="été 1/2"))
    ref = ConversationRef(user_id=user_id, conversation_id="été 1/2")
    receipt = await client.bus.request(DELETE_CONVERSATION, ref)
    assert (receipt.scope, receipt.subject_id) == ("conversation", kept.items[0].conversation_id)
    for _ in range(2):
        with pytest.raises(ConversationNotFound):
            await texts(client, user_id, "été 1/2")
        with pytest.raises(ConversationNotFound):
            await client.bus.request(DELETE_CONVERSATION, ref)
    assert await texts(client, other, "été 1/2") == [("theirs", None)]


async def check_an_export_that_comes_back_doubles_nothing(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    said, position = await client.say(user_id, "c-own", "hello", "good morning")
    applied = ReadConversation(user_id=user_id, conversation_id="c-own", read_after=position)
    await client.bus.request(READ_CONVERSATION, applied)
    turns = [
        imported(message.message_id, "as exported", within="c-own", minute=minute)
        for minute, message in enumerate(said.messages)
    ]
    assert (await client.import_turns(user_id, *turns)).present == 2
    assert len((await client.import_turns(other, *turns)).items) == 2, "elsewhere it is news"


async def test_an_export_that_comes_back_to_where_it_was_made_doubles_nothing(client: Client) -> None:
    await check_an_export_that_comes_back_doubles_nothing(client)


async def test_without_looking_for_own_ids_an_export_would_double_them(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(keeping, "own", nothing)
    with pytest.raises(AssertionError):
        await check_an_export_that_comes_back_doubles_nothing(client)


async def test_a_documents_passages_are_read_in_their_order_by_their_owner_alone(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    passages = tuple(Passage(text=f"page {page}", page=page) for page in (1, 2, 3))
    document = KeepDocument(
        user_id=user_id,
        name="lease.pdf",
        media_type="application/pdf",
        size=10,
        digest="d",
        pages=3,
        passages=passages,
        at=START,
    )
    kept = await client.cognition.request(KEEP_DOCUMENT, document)
    found = await texts(client, user_id, str(kept.conversation_id))
    assert found == [("page 1", 1), ("page 2", 2), ("page 3", 3)]
    with pytest.raises(ConversationNotFound):
        await texts(client, other, str(kept.conversation_id))
