"""``llm.ray.*`` are true: every generation that starts ends as one success or one failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from libs.shared.contracts.chat import CHAT
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.errors import BackendFailed, Overloaded, ServiceError
from libs.shared.telemetry import metrics
from libs.shared.telemetry.metrics import REGISTRY
from services.cognition.measuring import GenerationMeter
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import Answers, whole

HANGING = "and then "
MODEL = {"gen_ai_request_model": "llama"}


@pytest.fixture(autouse=True)
def _room_for_one_more_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have taught the label as many models as it learns."""
    monkeypatch.setattr(metrics.MODEL, "_learned", {*MODEL.values()})
    for counter in (metrics.LLM_REQUESTS, metrics.LLM_SUCCESSES, metrics.LLM_FAILURES):
        monkeypatch.setattr(counter.kept, "_children", {})


def total(name: str, **labels: str) -> float:
    """The sum of a counter's samples that carry ``labels``."""
    found = 0.0
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                found += sample.value
    return found


def counts() -> dict[str, float]:
    names = ("requests", "successes", "failures", "fallbacks")
    return {name: total(f"llm_ray_{name}_total", **({} if name == "fallbacks" else MODEL)) for name in names}


async def refuses(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    raise Overloaded("full", retry_after_s=1.0)
    yield


async def breaks_off(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text="Your ")
    raise BackendFailed("broken")


async def hangs(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text=HANGING)
    await asyncio.Event().wait()


async def ask_once(home: Household) -> None:
    """Asks, and leaves where the answer would never end."""
    with suppress(ServiceError):
        async with home.api.stream(CHAT, request()) as chunks:
            async for chunk in chunks:
                if chunk.text == HANGING:
                    break
    if home.inference.requests:
        await home.inference.closed.wait()


def since(before: dict[str, float]) -> dict[str, float]:
    after = counts()
    return {name: after[name] - before[name] for name in before}


def settled(seen: dict[str, float]) -> bool:
    return seen["requests"] == seen["successes"] + seen["failures"]


async def check_counts(household: Build, answers: tuple[Answers, ...], expected: dict[str, int]) -> None:
    before = counts()
    home = await household(*answers)
    async with asyncio.timeout(5):
        await ask_once(home)
        while not settled(seen := since(before)):  # noqa: ASYNC110 - yields to the bus, waits for no time
            await asyncio.sleep(0)
    assert seen == expected


FAULTS = [
    ((whole,), {"requests": 1, "successes": 1, "failures": 0, "fallbacks": 0}),
    ((refuses, whole), {"requests": 2, "successes": 1, "failures": 1, "fallbacks": 1}),
    ((refuses, refuses), {"requests": 2, "successes": 0, "failures": 2, "fallbacks": 2}),
    ((breaks_off, whole), {"requests": 1, "successes": 0, "failures": 1, "fallbacks": 0}),
    ((hangs,), {"requests": 1, "successes": 0, "failures": 1, "fallbacks": 0}),
    ((), {"requests": 0, "successes": 0, "failures": 0, "fallbacks": 1}),
]


@pytest.mark.parametrize(
    ("answers", "expected"), FAULTS, ids=["well", "one full", "all full", "broke off", "client gone", "no model"]
)
async def test_every_generation_is_counted_once(
    household: Build, answers: tuple[Answers, ...], expected: dict[str, int]
) -> None:
    await check_counts(household, answers, expected)


async def test_an_uncounted_failure_would_be_noticed(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GenerationMeter, "failed", lambda *_: None)
    with pytest.raises((AssertionError, TimeoutError)):
        await asyncio.wait_for(check_counts(household, (refuses, whole), FAULTS[1][1]), 1.0)


async def test_failures_are_told_by_reason(household: Build) -> None:
    before = total("llm_ray_failures_total", reason="refused", **MODEL)
    home = await household(refuses, whole)
    await ask_once(home)
    assert total("llm_ray_failures_total", reason="refused", **MODEL) == before + 1
