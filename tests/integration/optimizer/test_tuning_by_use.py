"""A size that was tuned by how the cache is used goes through a real ledger, and is obeyed and undone at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.cache.curves import HOUR_S, UseCurve
from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import DECIDE_CHANGE, OPTIMIZER_ACTOR, ChangeState, DecideChange, Decision
from services.optimizer.tuning.machine import tune_cache
from services.persistence.mirror import SettingsMirror
from tests.integration.optimizer.test_safe_apply import House
from tests.integration.persistence.test_index_memory import until_budget
from tests.integration.persistence.test_living_changes import in_force, read, whole
from tests.support.persistence import Client, RunningPersistence
from tests.unit.optimizer.nights import Work

MIB = 1024 * 1024
PEOPLE, HOURS = 12, 60


def much_used(curve: UseCurve) -> None:
    """A dozen people with indexes of 40 MiB take turns: the delivered 256 MiB hold none of them until they return."""
    for hour in range(HOURS):
        for turn in range(2 * PEOPLE):
            curve.used(f"user-{turn % PEOPLE}", 40 * MIB, hour * HOUR_S + turn)
    curve.brought(0.3)


async def check_a_size_is_proposed_applied_and_undone(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker, folder: Path
) -> None:
    indexes = persistence.parts.indexes
    indexes.curve = UseCurve((16, 32, 64, 128, 256, 512, 1024))
    much_used(indexes.curve)
    work = Work(await broker.connect(Principal.OPTIMIZER), folder)
    report = await tune_cache(work)
    (change_id,) = report.changes
    assert "index_memory_mib 256 → 512" in report.done
    house = House(client, work.bus, folder)
    (applied,) = await house.pipeline().look()
    assert (applied.change_id, applied.state) == (change_id, ChangeState.APPLIED)
    assert (await in_force(client)).settings.index_memory_mib == 512
    try:
        await until_budget(persistence, 512 * MIB)
    except TimeoutError:
        raise AssertionError("the size is not obeyed") from None
    undo = DecideChange(change_id=change_id, decision=Decision.ROLL_BACK, actor=OPTIMIZER_ACTOR, reason="worse")
    await work.bus.request(DECIDE_CHANGE, undo)
    await until_budget(persistence, 256 * MIB)
    told = await read(client, applied)
    assert [step.state.value for step in told.steps] == ["proposed", "evaluated", "applied", "rolled_back"]
    assert {one.measure for one in told.steps[1].measured} == {"index_wait_s", "index_hits", "index_held_mib"}
    assert await whole(client)
    await work.bus.drain(1)


async def test_a_size_is_proposed_applied_and_undone(
    client: Client, persistence: RunningPersistence, broker: MemoryBroker, tmp_path: Path
) -> None:
    await check_a_size_is_proposed_applied_and_undone(client, persistence, broker, tmp_path)


async def test_the_check_notices_that_persistence_ignores_its_own_setting(
    client: Client,
    persistence: RunningPersistence,
    broker: MemoryBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror: SettingsMirror = persistence.parts.mirror
    monkeypatch.setattr(mirror, "obeyed", lambda _: None)
    with pytest.raises(AssertionError):
        await asyncio.wait_for(
            check_a_size_is_proposed_applied_and_undone(client, persistence, broker, tmp_path), timeout=30
        )
