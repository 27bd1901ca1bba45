"""Clients that resend their history, on a real database: a conversation each, nothing twice, branches where it
differs."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from libs.shared.contracts.common import Position, Speaker
from libs.shared.contracts.conversations import (
    DELETE_CONVERSATION,
    READ_CONVERSATION,
    ConversationRef,
    ReadConversation,
)
from libs.shared.contracts.keeping import REWRITE_MEMORY, RewriteMemory
from libs.shared.contracts.memory import FORGET_MEMORY, MemoryRef
from libs.shared.contracts.turns import JOIN_TURN, Joined, JoinTurn, Resent, TurnMessage
from services.persistence import applying, derived_ids
from services.persistence.tables import MessageRow, QuarantinedMessageRow, TurnRow
from tests.support.persistence import Client, RunningPersistence, new_id

SPEAKERS = (Speaker.USER, Speaker.ASSISTANT)


class Chat:
    """A program that knows of no conversations: it has a list of texts, and sends all of it each time."""

    def __init__(self, client: Client, user_id: str, *, name: str | None = None) -> None:
        self.client, self.user_id, self.name = client, user_id, name
        self.position: Position | None = None
        self.conversation_id = ""

    async def find(self, before: list[str], said: str) -> Joined:
        resent = tuple(Resent(speaker=SPEAKERS[i % 2], text=text) for i, text in enumerate(before))
        request = JoinTurn(
            user_id=self.user_id, before=resent, said=(said,), chat=self.name, again=True, read_after=self.position
        )
        return await self.client.cognition.request(JOIN_TURN, request)

    async def say(
        self, before: list[str], said: str, answer: str, *, found: Joined | None = None, ago_s: float = 0.0
    ) -> list[str]:
        """Keeps a turn as cognition does; the history that the program has afterwards."""
        found = found or await self.find(before, said)
        self.conversation_id = found.conversation_id or new_id()
        at = datetime.now(UTC) - timedelta(seconds=ago_s)
        turn = await self.client.turn(
            self.user_id, self.conversation_id, said, answer, parent_id=found.parent_id, at=at
        )
        turn = turn.model_copy(update={"joined": found.conversation_id is not None})
        self.position = await self.client.publish(turn)
        return [*before, said, answer]

    async def kept(self) -> list[TurnMessage]:
        request = ReadConversation(user_id=self.user_id, conversation_id=self.conversation_id, read_after=self.position)
        return list((await self.client.bus.request(READ_CONVERSATION, request)).messages)

    async def tree(self) -> list[tuple[str, str | None]]:
        """Each message's words with those of the one that it answers to."""
        kept = await self.kept()
        texts = {message.message_id: message.text for message in kept}
        return [(message.text, texts.get(message.parent_id or "")) for message in kept]


@pytest.fixture
async def chat(client: Client) -> Chat:
    return Chat(client, await client.user())


async def count(persistence: RunningPersistence, table: type) -> int:
    async with persistence.parts.database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def test_a_resent_history_goes_on_in_its_conversation(chat: Chat) -> None:
    said = await chat.say([], "Where is the key?", "In the barn.")
    first = chat.conversation_id
    said = await chat.say(said, "Which barn?", "The old one.")
    said = await chat.say(said, "Thanks!", "You are welcome.")
    assert chat.conversation_id == first
    assert [message.text for message in await chat.kept()] == said


async def test_a_history_that_was_cut_or_reshaped_goes_on_all_the_same(chat: Chat) -> None:
    said = await chat.say([], "Where is the key?", "In the barn.")
    said = await chat.say(said, "Which barn?", "The old\n one.")
    await chat.say(["Which  barn?", "<think>hm</think>\nThe old one."], "Thanks!", "You are welcome.")
    assert Counter(message.text for message in await chat.kept()) == Counter([*said, "Thanks!", "You are welcome."])
    assert (await chat.tree())[-2] == ("Thanks!", "The old\n one.")


async def test_an_edited_question_branches_where_the_histories_part(chat: Chat) -> None:
    first = await chat.say([], "Where is the key?", "In the barn.")
    await chat.say(first, "Which barn?", "The old one.")
    await chat.say(first, "Which one of the two barns?", "The red one.")
    assert (await chat.tree())[-2:] == [
        ("Which one of the two barns?", "In the barn."),
        ("The red one.", "Which one of the two barns?"),
    ]
    assert len(await chat.kept()) == 6


async def test_another_answer_is_wanted_and_the_question_is_kept_once(chat: Chat) -> None:
    first = await chat.say([], "Where is the key?", "In the barn.")
    await chat.say(first, "Which barn?", "The old one.")
    await chat.say(first, "Which barn?", "The red one.")
    tree = await chat.tree()
    assert [text for text, _ in tree].count("Which barn?") == 1
    assert tree[-1] == ("The red one.", "Which barn?")


async def test_the_first_message_again_is_a_retry_and_not_a_conversation(chat: Chat) -> None:
    await chat.say([], "Where is the key?", "In the b")
    first = chat.conversation_id
    said = await chat.say([], "Where is the key?", "In the barn.")
    assert chat.conversation_id == first
    assert await chat.tree() == [
        ("Where is the key?", None),
        ("In the b", "Where is the key?"),
        ("In the barn.", "Where is the key?"),
    ]
    await chat.say(said, "Which barn?", "The old one.")
    await chat.say([], "Where is the key?", "In the barn.")
    assert chat.conversation_id != first, "that one went on: this begins another"


async def test_the_first_message_much_later_begins_another_conversation(chat: Chat) -> None:
    await chat.say([], "Where is the key?", "In the barn.", ago_s=3600)
    first = chat.conversation_id
    await chat.say([], "Where is the key?", "In the barn.")
    assert chat.conversation_id != first


async def test_a_turn_sent_twice_at_once_is_kept_once(chat: Chat, persistence: RunningPersistence) -> None:
    first = await chat.say([], "Where is the key?", "In the barn.")
    found = await chat.find(first, "Which barn?")
    turns = await count(persistence, TurnRow)
    await chat.say(first, "Which barn?", "The old one.", found=found)
    await chat.say(first, "Which barn?", "The old one.", found=found)
    assert [text for text, _ in await chat.tree()] == [*first, "Which barn?", "The old one."]
    assert await count(persistence, TurnRow) == turns + 1
    assert await count(persistence, QuarantinedMessageRow) == 0


async def test_what_was_said_elsewhere_is_not_kept(chat: Chat) -> None:
    await chat.say(["Hello from afar", "Answered by another model, far away and long ago"], "And now?", "Now here.")
    assert [message.text for message in await chat.kept()] == ["And now?", "Now here."]


async def test_nobody_joins_the_conversation_of_another(chat: Chat, client: Client) -> None:
    said = await chat.say([], "Where is the key to the barn with the red door?", "In the barn, below the seventh step.")
    other = Chat(client, await client.user())
    await chat.kept()
    assert await other.find(said, "Which barn?") == Joined()
    assert await other.find([], "Where is the key to the barn with the red door?") == Joined()


async def test_a_chat_with_a_name_is_found_whatever_was_said(client: Client) -> None:
    chat = Chat(client, await client.user(), name="key/one")
    await chat.say([], "Hi", "Hello!")
    first = chat.conversation_id
    await chat.say([], "Hi there", "Hello again!")
    assert chat.conversation_id == first
    assert await chat.tree() == [("Hi", None), ("Hello!", "Hi"), ("Hi there", None), ("Hello again!", "Hi there")]
    await chat.say(["Hi", "Hello!"], "So?", "So.")
    assert (await chat.tree())[-2] == ("So?", "Hello!")
    elsewhere = Chat(client, chat.user_id, name="key/two")
    await elsewhere.say([], "Hi", "Hello!")
    assert elsewhere.conversation_id != first


async def test_a_named_chat_that_was_forgotten_goes_on_as_a_new_one(client: Client) -> None:
    chat = Chat(client, await client.user(), name="key/one")
    said = await chat.say([], "Where is the key?", "In the barn.")
    await chat.kept()
    first = chat.conversation_id
    await client.bus.request(DELETE_CONVERSATION, ConversationRef(user_id=chat.user_id, conversation_id=first))
    await chat.say(said, "Which barn?", "The old one.")
    assert chat.conversation_id != first
    assert [message.text for message in await chat.kept()] == ["Which barn?", "The old one."]


async def hashes_of(persistence: RunningPersistence, user_id: str, *texts: str) -> int:
    """How many rows stand for these words, whoever said them."""
    user = persistence.parts.keys.cached(user_id)
    assert user is not None
    wanted = [derived_ids.said_hash(user, speaker, text) for text in texts for speaker in SPEAKERS]
    async with persistence.parts.database.transaction() as session:
        found = select(func.count()).select_from(MessageRow).where(MessageRow.said_hash.in_(wanted))
        return await session.scalar(found) or 0


async def test_what_is_forgotten_or_reworded_is_known_by_no_hash(chat: Chat, persistence: RunningPersistence) -> None:
    said = await chat.say([], "Where is the key to the barn with the red door?", "In the barn.")
    await chat.say(said, "Which barn?", "The old one.")
    question, answer, *_ = await chat.kept()
    assert await hashes_of(persistence, chat.user_id, *said) == 2
    rewrite = RewriteMemory(user_id=chat.user_id, id=answer.message_id, text="In the house.")
    await chat.client.cognition.request(REWRITE_MEMORY, rewrite)
    assert await hashes_of(persistence, chat.user_id, said[1], "In the house.") == 0
    assert await hashes_of(persistence, chat.user_id, said[0]) == 1
    await chat.client.bus.request(FORGET_MEMORY, MemoryRef(user_id=chat.user_id, id=question.message_id))
    assert await hashes_of(persistence, chat.user_id, *said) == 0
    found = await chat.find([*said, "Which barn?", "The old one."], "Thanks!")
    assert found.conversation_id == chat.conversation_id
    ref = ConversationRef(user_id=chat.user_id, conversation_id=chat.conversation_id)
    await chat.client.bus.request(DELETE_CONVERSATION, ref)
    assert await hashes_of(persistence, chat.user_id, *said, "Which barn?", "The old one.") == 0
    assert await chat.find([*said, "Which barn?", "The old one."], "Thanks!") == Joined()


# ---------------------------------------------------------------- a test of the tests


async def test_without_looking_for_what_is_kept_a_question_is_kept_twice(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def everything(_: object, __: object, messages: object, ___: object) -> object:
        return messages

    monkeypatch.setattr(applying, "_not_kept_yet", everything)
    with pytest.raises(AssertionError):
        await test_another_answer_is_wanted_and_the_question_is_kept_once(chat)
