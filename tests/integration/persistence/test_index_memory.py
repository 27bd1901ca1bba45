"""How much memory indexes take is a setting: obeyed at once, and told of by counts alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.shared.bus import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.caching import READ_INDEX_CACHE, CacheCurve
from libs.shared.contracts.ledger import DECIDE_CHANGE, PROPOSE_CHANGE, DecideChange, Decision, ProposeChange
from libs.shared.contracts.recall import FIND_CANDIDATES, FindCandidates
from services.persistence import index_room
from services.persistence.indexes import Indexes
from tests.support.persistence import Client, RunningPersistence
from tests.support.remembering import Entry, import_turns, index


@pytest.fixture
async def optimizer(broker: MemoryBroker, persistence: RunningPersistence) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.OPTIMIZER)
    yield bus
    await bus.drain(1)


async def household(client: Client, people: int = 3) -> list[str]:
    found = []
    for _ in range(people):
        user_id = await client.user()
        told = await import_turns(client, user_id, "told", "the kayak is violet")
        await index(client, user_id, [Entry(one.id, one.text) for one in told])
        found.append(user_id)
    return found


async def ask(client: Client, user_id: str, *, background: bool = False) -> None:
    query = FindCandidates(user_id=user_id, terms=("kayak",), background=background)
    await client.cognition.request(FIND_CANDIDATES, query)


async def until_budget(persistence: RunningPersistence, nbytes: int) -> None:
    async with asyncio.timeout(5):
        while persistence.parts.indexes.budget_bytes != nbytes:  # noqa: ASYNC110 - the mirror's own doing
            await asyncio.sleep(0)


async def check_a_smaller_size_is_obeyed_at_once(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user_id in await household(client):
        await ask(client, user_id)
    indexes = persistence.parts.indexes
    assert len(indexes._entries) == 3
    delivered = persistence.settings.index_memory_mib
    monkeypatch.setattr(index_room, "MIB", 1)  # so that a few indexes are more than fit
    smaller = ProposeChange(key="index_memory_mib", value=16, reason="less", actor="admin", apply=True)
    change = await client.bus.request(PROPOSE_CHANGE, smaller)
    await until_budget(persistence, 16)
    assert len(indexes._entries) == 1, "the longest unused are given up"
    undo = DecideChange(change_id=change.change_id, decision=Decision.ROLL_BACK, actor="admin", reason="no")
    await client.bus.request(DECIDE_CHANGE, undo)
    await until_budget(persistence, delivered)


async def test_a_smaller_size_is_obeyed_at_once(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_a_smaller_size_is_obeyed_at_once(client, persistence, monkeypatch)


async def test_the_check_notices_that_the_size_is_ignored(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ignored(self: Indexes, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes

    monkeypatch.setattr(Indexes, "resize", ignored)
    with pytest.raises(AssertionError):
        await check_a_smaller_size_is_obeyed_at_once(client, persistence, monkeypatch)


async def told(optimizer: Bus) -> CacheCurve:
    return await optimizer.request(READ_INDEX_CACHE, Empty())


async def test_what_people_ask_is_told_as_counts(client: Client, optimizer: Bus) -> None:
    first, second, _ = await household(client)
    before = await told(optimizer)
    assert (before.hours, before.size_mib) == ((), 256)
    for user_id in (first, second, first):
        await ask(client, user_id)
    await ask(client, first, background=True)
    curve = await told(optimizer)
    assert sum(one.uses for one in curve.hours) == 3, "what nobody waits for says nothing"
    assert sum(one.hits[-1] for one in curve.hours) == 1
    assert curve.miss_s is not None
    assert curve.sizes_mib[-1] == curve.room_mib
    assert READ_INDEX_CACHE.callers == {Principal.OPTIMIZER}
    said = curve.model_dump_json()
    assert first not in said
    assert "kayak" not in said
