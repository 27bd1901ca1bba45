"""Settings change through the ledger alone, and everybody hears of it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.ledger import (
    CHANGE_RECORDED,
    DECIDE_CHANGE,
    LIST_CHANGES,
    PROPOSE_CHANGE,
    READ_SETTINGS,
    SETTINGS,
    SETTINGS_KEY,
    Change,
    ChangeState,
    DecideChange,
    Decision,
    ListChanges,
    ProposeChange,
    ReadSettings,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import ChangeConflict, ChangeNotFound, InvalidRequest, SettingUnknown
from services.persistence.handlers import ledger as handlers
from services.persistence.repositories import ledger_checks
from tests.support.persistence import Client, RunningPersistence


async def propose(client: Client, value: Any, *, key: str = "recall_k", apply: bool = False) -> Change:
    return await client.bus.request(PROPOSE_CHANGE, ProposeChange(key=key, value=value, actor="admin", apply=apply))


async def decide(client: Client, change: Change, decision: Decision) -> Change:
    request = DecideChange(change_id=change.change_id, decision=decision, actor="other")
    return await client.bus.request(DECIDE_CHANGE, request)


async def in_force(client: Client) -> RuntimeSettings:
    return (await client.bus.request(READ_SETTINGS, ReadSettings())).settings


async def told(client: Client, wanted: int) -> None:
    """Returns once the shared entry says ``wanted``."""
    bucket, changed = client.bus.bucket(SETTINGS), asyncio.Event()

    async def hear(_key: str, _value: bytes | None) -> None:
        changed.set()

    await bucket.watch(hear)
    async with asyncio.timeout(5):
        while json.loads(await bucket.get(SETTINGS_KEY) or b"{}").get("recall_k") != wanted:
            await changed.wait()
            changed.clear()


async def verified(persistence: RunningPersistence) -> int | None:
    async with persistence.parts.database.transaction() as session:
        found = await ledger_checks.verified(session, persistence.parts.ledger.signer.key)
    return found.entry_broken_at or found.broken_at


async def test_a_proposal_changes_nothing_until_it_is_approved(client: Client) -> None:
    change = await propose(client, 3)
    assert (change.state, change.before, change.after) == (ChangeState.PROPOSED, 8, 3)
    assert (await in_force(client)).recall_k == 8
    approved = await decide(client, change, Decision.APPROVE)
    assert (approved.state, approved.hash) == (ChangeState.APPLIED, change.hash)
    assert approved.decided is not None
    assert approved.decided.actor == "other"
    assert (await in_force(client)).recall_k == 3
    await told(client, 3)


async def test_a_rollback_restores_what_was_before(client: Client) -> None:
    one = await propose(client, 3, apply=True)
    two = await propose(client, 4, apply=True)
    with pytest.raises(ChangeConflict):
        await decide(client, one, Decision.ROLL_BACK)
    await decide(client, two, Decision.ROLL_BACK)
    read = await client.bus.request(READ_SETTINGS, ReadSettings())
    assert (read.settings.recall_k, read.last_change) == (3, one.change_id)
    await decide(client, one, Decision.ROLL_BACK)
    read = await client.bus.request(READ_SETTINGS, ReadSettings())
    assert (read.settings, read.last_change) == (RuntimeSettings(), None)
    await told(client, 8)


async def test_none_is_a_value(client: Client) -> None:
    await propose(client, "llama", key="default_model", apply=True)
    change = await propose(client, None, key="default_model", apply=True)
    assert (change.before, change.after) == ("llama", None)
    assert (await in_force(client)).default_model is None
    await decide(client, change, Decision.ROLL_BACK)
    assert (await in_force(client)).default_model == "llama"


async def test_what_does_not_fit_is_refused_and_leaves_no_entry(client: Client) -> None:
    with pytest.raises(SettingUnknown):
        await propose(client, 1, key="colour")
    with pytest.raises(InvalidRequest):
        await propose(client, 99)
    with pytest.raises(ChangeNotFound):
        await client.bus.request(DECIDE_CHANGE, DecideChange(change_id="x", decision=Decision.REJECT, actor="a"))
    assert (await client.bus.request(LIST_CHANGES, ListChanges())).changes == ()
    change = await propose(client, 3)
    await decide(client, change, Decision.REJECT)
    with pytest.raises(ChangeConflict):
        await decide(client, change, Decision.APPROVE)


async def test_entries_made_at_once_form_one_chain(client: Client, persistence: RunningPersistence) -> None:
    await asyncio.gather(*(propose(client, n % 50) for n in range(12)))
    changes = (await client.bus.request(LIST_CHANGES, ListChanges(limit=5))).changes
    assert [change.sequence for change in changes] == [12, 11, 10, 9, 8]
    assert await verified(persistence) is None


async def test_a_forged_entry_is_found(client: Client, persistence: RunningPersistence) -> None:
    for n in range(3):
        await propose(client, n, apply=True)
    async with persistence.parts.database.transaction() as session:
        await session.execute(text("UPDATE changes SET after = '50' WHERE sequence = 2"))
    assert await verified(persistence) == 2


async def test_the_ledger_is_listed_page_by_page(client: Client) -> None:
    for n in range(3):
        await propose(client, n)
    first = await client.bus.request(LIST_CHANGES, ListChanges(limit=2))
    second = await client.bus.request(LIST_CHANGES, ListChanges(limit=2, cursor=first.next_cursor))
    assert [c.sequence for c in first.changes + second.changes] == [3, 2, 1]


async def test_every_state_is_recorded_in_the_stream_after_a_restart_too(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker
) -> None:
    await persistence.stop()
    await persistence.open()
    await persistence.bus.serve(PROPOSE_CHANGE, partial(handlers.propose_change, parts=persistence.parts))
    change = await propose(client, 3, apply=True)
    stream, recorded = broker.stream(CHANGE_RECORDED), asyncio.Queue[str]()
    assert stream.messages == {}
    stream.listeners.append(lambda stored: recorded.put_nowait(stored.message_id))
    await persistence.stop()
    await persistence.start()
    async with asyncio.timeout(5):
        ids = [await recorded.get(), await recorded.get()]
    assert ids == [f"{change.change_id}-proposed", f"{change.change_id}-applied"]
    await told(client, 3)
