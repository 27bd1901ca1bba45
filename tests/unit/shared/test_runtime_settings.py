"""The settings in force: defaults first, then what persistence wrote, never half."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import SETTINGS, SETTINGS_KEY, InForce, Trial, told_in_force
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.runtime_settings import InUse, SettingsInForce, in_use

LIMIT_S = 5
NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


async def until_k(settings: SettingsInForce, k: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while settings.current.recall_k != k:  # noqa: ASYNC110 - yields to the bus, waits for no time
            await asyncio.sleep(0)


async def test_whoever_follows_is_told_of_each_change() -> None:
    broker = MemoryBroker()
    writer, reader = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.INFERENCE)
    allowed: list[bool] = []
    settings = SettingsInForce(reader, lambda current: allowed.append(current.remote_models))
    following = asyncio.create_task(settings.follow())
    for k, remote in ((3, True), (4, False)):
        changed = RuntimeSettings(recall_k=k, remote_models=remote)
        await writer.bucket(SETTINGS).put(SETTINGS_KEY, changed.model_dump_json().encode())
        await until_k(settings, k)
    assert (True in allowed, allowed[-1]) == (True, False)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await writer.drain(1.0)
    await reader.drain(1.0)


async def test_settings_are_read_and_followed() -> None:
    broker = MemoryBroker()
    writer, reader = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.COGNITION)
    await writer.bucket(SETTINGS).put(SETTINGS_KEY, RuntimeSettings(recall_k=3).model_dump_json().encode())
    settings = SettingsInForce(reader)
    assert settings.current == RuntimeSettings()
    following = asyncio.create_task(settings.follow())
    await until_k(settings, 3)
    await writer.bucket(SETTINGS).put(SETTINGS_KEY, RuntimeSettings(recall_k=5).model_dump_json().encode())
    await until_k(settings, 5)
    await writer.bucket(SETTINGS).put(SETTINGS_KEY, b'{"recall_k": -1}')
    await writer.bucket(SETTINGS).put(SETTINGS_KEY, b"not json")
    await writer.bucket(SETTINGS).put("another", RuntimeSettings(recall_k=9).model_dump_json().encode())
    await writer.bucket(SETTINGS).put(SETTINGS_KEY, RuntimeSettings(recall_k=6).model_dump_json().encode())
    await until_k(settings, 6)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await writer.drain(1.0)
    await reader.drain(1.0)


def test_only_what_can_be_tried_by_conversation_and_taken_is_tried_out() -> None:
    settings = RuntimeSettings(recall_min_score=0.3)
    for key, value in (("hedging", True), ("approval", "all"), ("recall_k", -1), ("a_later_release's", 1)):
        assert in_use(settings, Trial(change_id="c1", key=key, value=value, share=0.5), NOW) == InUse(settings)
    using = in_use(settings, Trial(change_id="c1", key="recall_k", value=3, share=0.5), NOW)
    found = [using.for_conversation(f"talk {number}") for number in range(40)]
    assert {(one.settings.recall_k, one.arm.tried) for one in found if one.arm} == {(3, True), (8, False)}
    assert {one.settings.recall_min_score for one in found} == {0.3}


def test_a_trial_that_nobody_ended_is_over_when_its_time_is() -> None:
    trial = Trial(change_id="c1", key="recall_k", value=3, share=0.5, until=NOW)
    assert in_use(RuntimeSettings(), trial, NOW - timedelta(seconds=1)).trial == trial
    assert in_use(RuntimeSettings(), trial, NOW) == InUse(RuntimeSettings())


async def test_a_trial_is_followed_from_its_beginning_to_its_end() -> None:
    broker = MemoryBroker()
    writer, reader = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.COGNITION)
    settings = SettingsInForce(reader)
    following = asyncio.create_task(settings.follow())
    trial = Trial(change_id="c1", key="recall_k", value=3, share=0.5)
    for k, told in ((5, trial), (6, None)):
        in_force = InForce(settings=RuntimeSettings(recall_k=k), trial=told)
        await writer.bucket(SETTINGS).put(SETTINGS_KEY, told_in_force(in_force))
        await until_k(settings, k)
        assert settings.in_use.trial == told
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await writer.drain(1.0)
    await reader.drain(1.0)
