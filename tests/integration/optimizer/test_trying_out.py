"""Changes tried out on a share of the conversations, through a real ledger and the settings' bucket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import Change, ChangeState, Decision
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.watching import TurnMeasured, TurnRated
from libs.shared.runtime_settings import SettingsInForce
from services.optimizer.pipeline.driving import Pipeline
from services.optimizer.pipeline.trying_out import ENOUGH_PAIRS
from services.optimizer.watch.betting import Bet
from services.optimizer.watch.turns import LatestTurns
from tests.integration.optimizer.test_safe_apply import ZEROED, Ending
from tests.integration.persistence.test_living_changes import decide, in_force, propose, read, whole
from tests.support.persistence import Client
from tests.support.pipeline import pipeline_over

A_DAYS = 600


class Talking:
    """A pipeline over a real ledger, and conversations that go by the settings as cognition hears of them."""

    def __init__(self, client: Client, settings: SettingsInForce, folder: Path) -> None:
        self.client = client
        self.settings = settings
        self.folder = folder
        self.turns = LatestTurns(folder / "turns.json")
        self.now = datetime.now(UTC)
        self._talks = 0

    def pipeline(self, bus: Any = None) -> Pipeline:
        """A new process' own."""
        return pipeline_over(bus or self.client.bus, self.turns, lambda: self.settings.current, lambda: self.now)

    async def yesterday(self, conversations: int) -> None:
        """What nothing was tried out in."""
        for number in range(conversations):
            began = self.now - timedelta(hours=12) + timedelta(seconds=number)
            await self.turns.told(TurnMeasured(began=began, first_s=0.2, evidence=0.8))

    async def talk(self, conversations: int, *, rated: bool = False) -> None:
        """Each asks something that is in the memory, and finds it where it has weights to find it by."""
        for _ in range(conversations):
            self._talks += 1
            self.now += timedelta(seconds=0.2)
            settings, arm = self.settings.in_use.for_conversation(f"talk-{self._talks}")
            finds = any(settings.recall_weights.model_dump().values())
            told = TurnMeasured(began=self.now, first_s=0.2, evidence=0.8 if finds else 0.0, arm=arm)
            await self.turns.told(told)
            if rated:
                await self.turns.rated(TurnRated(began=self.now, bad=settings.recall_k == 6, arm=arm))

    async def tried(self, value: Any, key: str = "recall_k") -> Change:
        """On trial, and heard of."""
        self.now = datetime.now(UTC)
        await self.yesterday(A_DAYS)
        change = await decide(self.client, await propose(self.client, value, key=key), Decision.ACCEPT)
        await self.pipeline().look()
        await self.hears(trial=True)
        return await read(self.client, change)

    async def hears(self, *, trial: bool) -> None:
        async with asyncio.timeout(5):
            while (self.settings.in_use.trial is not None) is not trial:  # noqa: ASYNC110 - yields to the bus
                await asyncio.sleep(0)


@pytest_asyncio.fixture
async def talking(client: Client, broker: MemoryBroker, tmp_path: Path) -> AsyncIterator[Talking]:
    bus = await broker.connect(Principal.COGNITION)
    settings = SettingsInForce(bus)
    following = asyncio.create_task(settings.follow())
    yield Talking(client, settings, tmp_path)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await bus.drain(1)


async def zeroed(talking: Talking) -> Change:
    """Weights of nothing, on trial; how they stand after so many conversations."""
    change = await talking.tried(ZEROED, "recall_weights")
    for _ in range(10):
        await talking.talk(20)
        await talking.pipeline().look()
    return await read(talking.client, change)


async def test_zeroed_weights_are_ended_by_the_others_of_the_same_time_and_hold_for_nobody_else(
    talking: Talking,
) -> None:
    change = await zeroed(talking)
    assert [step.state.value for step in change.steps] == ["proposed", "evaluated", "canary", "rolled_back"]
    last = change.steps[-1]
    assert (last.actor, last.measured[0].by, last.measured[0].measure) == ("optimizer", "canary", "recall_evidence")
    assert "conversations" in last.reason
    assert last.measured[0].samples <= 12
    await talking.hears(trial=False)
    found = await in_force(talking.client)
    assert (found.settings, found.trial) == (RuntimeSettings(), None)
    assert await whole(talking.client)


async def test_the_check_notices_sides_that_are_never_compared(
    talking: Talking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.optimizer.watch.guardrails.bet", lambda differences, enough: Bet())
    assert (await zeroed(talking)).state is ChangeState.CANARY


async def test_the_check_notices_turns_that_are_told_on_a_side_that_they_did_not_have(
    talking: Talking, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = await talking.tried(ZEROED, "recall_weights")
    draw = random.Random(2)
    chosen = talking.settings.in_use
    monkeypatch.setattr("libs.shared.shares.place", lambda what, talk: draw.random())
    for _ in range(10):
        for _ in range(20):
            talking.now += timedelta(seconds=0.2)
            finds = any(chosen.for_conversation("t").settings.recall_weights.model_dump().values())
            arm = chosen.for_conversation("t").arm
            told = TurnMeasured(began=talking.now, first_s=0.2, evidence=0.8 if finds else 0.0, arm=arm)
            await talking.turns.told(told)
        await talking.pipeline().look()
    assert (await read(talking.client, change)).state is ChangeState.CANARY


async def test_what_worsens_nothing_holds_for_all_after_enough_conversations_and_is_watched_on(
    talking: Talking,
) -> None:
    change = await talking.tried(6)
    assert (await in_force(talking.client)).settings.recall_k == 8
    while (await read(talking.client, change)).state is ChangeState.CANARY:
        await talking.talk(50)
        await talking.pipeline().look()
        assert talking._talks <= 10 * ENOUGH_PAIRS
    told = await read(talking.client, change)
    assert [step.state.value for step in told.steps] == ["proposed", "evaluated", "canary", "applied"]
    assert "20% of the conversations" in told.steps[2].reason
    assert "error_share 1" in told.steps[3].reason, "a hundred and something"
    assert (await in_force(talking.client)).settings.recall_k == 6
    await talking.hears(trial=False)
    for _ in range(8):
        await talking.talk(50)
        await talking.pipeline().look()
    assert (await read(talking.client, change)).state is ChangeState.KEPT
    assert await whole(talking.client)


async def test_answers_that_are_rated_badly_end_a_trial_that_nothing_else_tells_of(talking: Talking) -> None:
    change = await talking.tried(6)
    for _ in range(10):
        await talking.talk(20, rated=True)
        await talking.pipeline().look()
    told = await read(talking.client, change)
    assert told.state is ChangeState.ROLLED_BACK
    assert "rated badly" in told.steps[-1].reason


async def test_with_too_few_conversations_what_was_measured_decides_and_the_step_says_so(talking: Talking) -> None:
    await talking.yesterday(30)
    change = await decide(talking.client, await propose(talking.client, 6), Decision.ACCEPT)
    await talking.pipeline().look()
    told = await read(talking.client, change)
    assert told.state is ChangeState.APPLIED
    assert "30 conversations in a day are too few" in told.steps[-1].reason


async def test_a_trial_is_over_after_a_day_though_nobody_talked(talking: Talking) -> None:
    change = await talking.tried(6)
    talking.now += timedelta(hours=25)
    await talking.pipeline().look()
    told = await read(talking.client, change)
    assert told.state is ChangeState.APPLIED
    assert "for a day" in told.steps[-1].reason


async def test_an_administrators_edit_ends_the_trial_and_is_what_holds(talking: Talking) -> None:
    change = await talking.tried(6)
    await propose(talking.client, 5, actor="root", apply=True)
    await talking.hears(trial=False)
    assert (await read(talking.client, change)).state is ChangeState.ROLLED_BACK
    assert await talking.pipeline().look() == []
    assert (await in_force(talking.client)).settings.recall_k == 5


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("at", range(1, 7))
async def test_a_process_that_ends_anywhere_leaves_a_trial_that_the_next_one_ends(
    talking: Talking, at: int, sent: bool
) -> None:
    talking.now = datetime.now(UTC)
    await talking.yesterday(A_DAYS)
    change = await decide(talking.client, await propose(talking.client, ZEROED, key="recall_weights"), Decision.ACCEPT)
    bus = Ending(talking.client.bus, at, sent=sent)
    for number in range(8):
        with suppress(asyncio.CancelledError):
            await talking.pipeline(bus if number < 4 else None).look()
        found = await read(talking.client, change)
        assert (await in_force(talking.client)).settings == RuntimeSettings()
        await talking.hears(trial=found.state is ChangeState.CANARY)
        await talking.talk(20)
        talking.turns.keep()
        talking.turns = LatestTurns(talking.folder / "turns.json")
        assert await whole(talking.client)
    told = await read(talking.client, change)
    assert [step.state.value for step in told.steps] == ["proposed", "evaluated", "canary", "rolled_back"]
