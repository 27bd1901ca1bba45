"""The way over from the first schema: what was said there is readable, and asked to be indexed anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from libs.shared.bus.base import Delivery
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.conversations import (
    LIST_CONVERSATIONS,
    READ_CONVERSATION,
    ListConversations,
    ReadConversation,
)
from libs.shared.contracts.indexing import INDEX_REQUESTED, READ_UNINDEXED, IndexRequested, ReadUnindexed
from libs.shared.contracts.memory import LIST_MEMORIES, ListMemories
from libs.shared.sealing import new_key, seal
from migrations.run import check, downgrade, upgrade
from services.persistence import housekeeping
from services.persistence.sealing import KeyRing
from services.persistence.settings import PersistenceSettings
from services.persistence.slot_file import SlotFile
from tests.support.database import Cluster
from tests.support.persistence import START, Client, RunningPersistence, imported

_TURNS = 40
"""Of two messages each: more than one job's worth."""


async def write_by_the_first_schema(url: str, folder: Path) -> None:
    """An account with a titled conversation, as the first release left them."""
    (folder / "keys").mkdir(parents=True)
    installation_key = new_key()
    (folder / "keys" / "installation.key").write_bytes(installation_key)
    settings = PersistenceSettings(state=folder, database_url=url)
    slots = await asyncio.to_thread(SlotFile.open, settings.folder.slots, ())
    keys = KeyRing(slots, installation_key)
    user_slot = await keys.new_user_key()
    user = keys.open_user("ada", user_slot)
    driver = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await driver.execute(
            "INSERT INTO users (user_id, name, folded_name, role, disabled, must_change_password, created_at, "
            "key_slot) VALUES ('ada', 'Ada', 'ada', 'user', false, false, $1, $2)",
            *(START, user_slot),
        )
        title_slot, title_key = await keys.new_data_key(user)
        await driver.execute(
            "INSERT INTO conversations VALUES ('c1', 'ada', $1, $2, $3, $4, $5, $5)",
            *(seal(title_key, b"Cats"), title_slot, f"m{_TURNS - 1}-1", 2 * _TURNS, START),
        )
        for number, (slot, key) in enumerate(await keys.new_data_keys(user, _TURNS)):
            await _write_turn(driver, number, slot, key)
        await driver.execute(
            "INSERT INTO jobs (job_id, kind, state, attempts, payload, queued_at, offered_at, user_id) "
            "VALUES ('old', 'index_messages', 'done', 1, '{}', $1, $1, 'ada')",
            START,
        )
    finally:
        await driver.close()
        await slots.close()


async def _write_turn(driver: asyncpg.Connection, number: int, slot: int, key: bytes) -> None:
    await driver.execute(
        "INSERT INTO turns VALUES ($1, 'ada', 'c1', $2, 'epoch', $3, 'model', false, 1, 1, $4)",
        *(f"t{number}", slot, number + 1, START),
    )
    for place, speaker in enumerate(("user", "assistant")):
        parent = f"m{number}-0" if place else (f"m{number - 1}-1" if number else None)
        await driver.execute(
            "INSERT INTO messages (message_id, user_id, conversation_id, turn_id, parent_id, speaker, text, slot, "
            "partial, at) VALUES ($1, 'ada', 'c1', $2, $3, $4, $5, $6, false, $7)",
            *(f"m{number}-{place}", f"t{number}", parent, speaker, seal(key, _text(number, place)), slot, START),
        )


def _text(number: int, place: int) -> bytes:
    return f"{'réponse' if place else 'question'} {number}".encode()


_ALL = [_text(number, place).decode() for number in range(_TURNS) for place in range(2)]


async def test_what_was_said_before_is_readable_and_asked_to_be_indexed(
    cluster: Cluster, tmp_path: Path, broker: MemoryBroker
) -> None:
    url = cluster.empty_database()
    await asyncio.to_thread(upgrade, url, "0001")
    await write_by_the_first_schema(url, tmp_path / "state")
    await asyncio.to_thread(upgrade, url)
    await asyncio.to_thread(check, url)
    running = RunningPersistence(PersistenceSettings(state=tmp_path / "state", database_url=url), broker.connect)
    await running.start()
    client = Client(await broker.connect(Principal.API), await broker.connect(Principal.COGNITION))
    try:
        await _check_readable(client)
        await _check_asked_to_be_indexed(client, running)
        _, position = await client.say("ada", "c1", "and now", "goes on")
        await running.parts.watermark.wait_for(position)
    finally:
        await running.stop()
        await client.bus.drain(1)
        await client.cognition.drain(1)


async def _check_readable(client: Client) -> None:
    request = ReadConversation(user_id="ada", conversation_id="c1", limit=500)
    read = await client.bus.request(READ_CONVERSATION, request)
    assert [message.text for message in read.messages] == _ALL
    assert (read.conversation.title, read.conversation.remembered) == ("Cats", True)
    listed = await client.bus.request(LIST_CONVERSATIONS, ListConversations(user_id="ada"))
    assert [conversation.messages for conversation in listed.conversations] == [2 * _TURNS]
    memories = await client.bus.request(LIST_MEMORIES, ListMemories(user_id="ada", limit=500))
    assert sorted(item.text for item in memories.items) == sorted(_ALL)


async def _check_asked_to_be_indexed(client: Client, running: RunningPersistence) -> None:
    asked: list[IndexRequested] = []
    heard = asyncio.Event()

    async def hear(delivery: Delivery[IndexRequested]) -> None:
        asked.append(delivery.message)
        heard.set()

    await client.cognition.consume(INDEX_REQUESTED, INDEX_REQUESTED.consumers[0], hear)
    texts: list[str] = []
    async with asyncio.timeout(10):
        while len(texts) < len(_ALL):
            heard.clear()
            await housekeeping.repeat_index_jobs(running.parts, 300)
            await heard.wait()
            ids = asked[-1].message_ids
            request = ReadUnindexed(user_id="ada", message_ids=ids)
            found = await client.cognition.request(READ_UNINDEXED, request)
            texts += [message.text for message in found.messages]
    assert sorted(texts) == sorted(_ALL)
    assert sorted(len(request.message_ids) for request in asked) == [16, 64]


async def test_the_way_back_keeps_what_was_said_in_conversations(
    persistence: RunningPersistence, client: Client
) -> None:
    user_id = await client.user()
    _, position = await client.say(user_id, "c1", "my cat is called Ada", "noted")
    await persistence.parts.watermark.wait_for(position)
    await client.import_turns(user_id, imported("1", "an import"))
    await client.note(user_id, "a note")
    await persistence.stop()
    url = persistence.settings.database_address()
    await asyncio.to_thread(downgrade, url, "0001")
    await asyncio.to_thread(upgrade, url)
    await persistence.start()
    request = ReadConversation(user_id=user_id, conversation_id="c1")
    read = await client.bus.request(READ_CONVERSATION, request)
    assert [message.text for message in read.messages] == ["my cat is called Ada", "noted"]
