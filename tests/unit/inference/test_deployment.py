"""A replica of Ray Serve that goes: it lets its answers end, unless its node stops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.inference import deployment
from services.inference.deployment import drain
from services.inference.ray_processes import is_stopping, say_stopping
from services.inference.settings import InferenceSettings


class AnsweringBus:
    """Has one answer under way until ``ended`` is set."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.patience_s = 0.0
        self.closed = False

    async def drain(self, timeout_s: float) -> None:
        self.patience_s = timeout_s
        await self.ended.wait()

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InferenceSettings:
    monkeypatch.setattr(deployment, "STOPPING_LOOK_S", 0.01)
    made = InferenceSettings(state=tmp_path, drain_timeout_s=0.05, longest_generation_s=70.0)
    made.folder.ray.mkdir(parents=True)
    return made


async def check_that_the_answer_ends(settings: InferenceSettings) -> None:
    bus = AnsweringBus()
    draining = asyncio.create_task(drain(bus, settings))  # type: ignore[arg-type]
    done, _ = await asyncio.wait({draining}, timeout=0.3)
    bus.ended.set()
    async with asyncio.timeout(5):
        await draining
    assert not done
    assert (bus.patience_s, bus.closed) == (70.0, False)


async def test_one_that_is_replaced_lets_its_longest_answer_end(settings: InferenceSettings) -> None:
    await check_that_the_answer_ends(settings)


async def test_the_check_notices_an_answer_that_is_cut(settings: InferenceSettings) -> None:
    say_stopping(settings.folder.ray, True)
    with pytest.raises(AssertionError):
        await check_that_the_answer_ends(settings)


async def test_one_whose_node_stops_meanwhile_is_cut_in_the_node_s_time(settings: InferenceSettings) -> None:
    bus = AnsweringBus()
    draining = asyncio.create_task(drain(bus, settings))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    say_stopping(settings.folder.ray, True)
    async with asyncio.timeout(5):
        await draining
    assert bus.closed


def test_a_ray_that_begins_anew_is_not_stopping(tmp_path: Path) -> None:
    say_stopping(tmp_path, True)
    assert is_stopping(tmp_path)
    say_stopping(tmp_path, False)
    assert not is_stopping(tmp_path)
