"""Changes on their way through a real ledger: applied once measured, watched, kept or undone, whole after any end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from libs.shared.contracts.ledger import Change, ChangeState, Decision
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.pipeline.driving import Pipeline
from services.optimizer.watch.betting import Bet
from services.optimizer.watch.turns import LatestTurns
from tests.integration.persistence.test_living_changes import decide, in_force, propose, read, whole
from tests.support.persistence import Client

ZEROED = dict.fromkeys(RuntimeSettings().recall_weights.model_dump(), 0.0)
BEFORE, AFTER = 400, 60


class House:
    """A pipeline over a real ledger, and turns as cognition would tell them."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.turns = LatestTurns(folder / "turns.json")

    def pipeline(self, bus: Any = None, **in_force: Any) -> Pipeline:
        """A new process' own."""
        settings = RuntimeSettings(**in_force)
        return Pipeline(bus or self.client.bus, self.turns, lambda: settings, lambda: self.now)

    now = datetime.now(UTC)

    async def said(self, count: int, *, at: datetime, evidence: float) -> None:
        """Turns, five a second."""
        for number in range(count):
            began = at + timedelta(seconds=number / 5)
            await self.turns.told(TurnMeasured(began=began, first_s=0.2, evidence=evidence))


@pytest_asyncio.fixture
async def house(client: Client, tmp_path: Path) -> AsyncIterator[House]:
    yield House(client, tmp_path)


async def applied_amid_turns(house: House, change: Change, *, evidence_after: float) -> None:
    """Good turns until it was applied, and others from then on."""
    assert change.decided is not None
    at = change.decided.at
    await house.said(BEFORE, at=at - timedelta(minutes=5), evidence=0.8)
    await house.said(AFTER, at=at + timedelta(seconds=3), evidence=evidence_after)
    house.now = at + timedelta(seconds=30)


async def test_what_was_measured_is_applied_and_kept_once_watched(house: House) -> None:
    change = await decide(house.client, await propose(house.client, 6), Decision.ACCEPT)
    (applied,) = await house.pipeline().look()
    assert applied.state is ChangeState.APPLIED
    assert (await in_force(house.client)).settings.recall_k == 6
    await applied_amid_turns(house, applied, evidence_after=0.8)
    assert await house.pipeline().look() == []
    await house.said(400, at=applied.decided.at + timedelta(minutes=2) if applied.decided else house.now, evidence=0.8)
    (kept,) = await house.pipeline().look()
    assert kept.state is ChangeState.KEPT
    told = await read(house.client, change)
    assert [step.state.value for step in told.steps] == ["proposed", "evaluated", "applied", "kept"]
    assert all(step.reason for step in told.steps)
    assert await whole(house.client)


async def test_what_is_not_measured_is_never_applied(house: House) -> None:
    change = await propose(house.client, 6)
    house.now = datetime.now(UTC)
    assert await house.pipeline().look() == []
    house.now += timedelta(hours=2)
    (refused,) = await house.pipeline().look()
    assert (refused.change_id, refused.state) == (change.change_id, ChangeState.REJECTED)
    assert (await in_force(house.client)).settings.recall_k == 8


async def zeroed(house: House) -> Change:
    """An administrator's own edit, past all evaluation, and what is left of recall after it."""
    edit = await propose(house.client, ZEROED, key="recall_weights", actor="root", apply=True)
    await applied_amid_turns(house, edit, evidence_after=0.0)
    await house.pipeline().look()
    return await read(house.client, edit)


async def test_weights_that_an_administrator_zeroed_are_undone_by_the_watch_with_its_reason(house: House) -> None:
    edit = await zeroed(house)
    assert edit.state is ChangeState.ROLLED_BACK
    last = edit.steps[-1]
    assert (last.actor, last.measured[0].measure) == ("optimizer", "recall_evidence")
    assert "less of what is asked is found" in last.reason
    assert last.measured[0].samples <= 12
    assert (await in_force(house.client)).settings.recall_weights == RuntimeSettings().recall_weights
    assert await whole(house.client)


async def test_a_watch_that_never_bets_would_leave_them_zeroed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.optimizer.watch.guardrails.bet", lambda differences, enough: Bet())
    assert (await zeroed(house)).state is ChangeState.APPLIED


async def test_where_an_administrator_has_to_allow_it_nothing_happens_before(house: House) -> None:
    policy = await propose(house.client, "all", key="approval", actor="root", apply=True)
    change = await decide(house.client, await propose(house.client, 6), Decision.ACCEPT)
    house.now = datetime.now(UTC)
    assert await house.pipeline(approval="all").look() == []
    await decide(house.client, change, Decision.APPROVE, actor="root")
    (applied,) = await house.pipeline(approval="all").look()
    assert (applied.change_id, applied.state) == (change.change_id, ChangeState.APPLIED)
    assert policy.state is ChangeState.APPLIED


async def test_a_proposal_against_another_value_is_refused_and_not_tried_for_ever(house: House) -> None:
    change = await decide(house.client, await propose(house.client, 6), Decision.ACCEPT)
    edit = await propose(house.client, 5, actor="root", apply=True)
    await decide(house.client, edit, Decision.KEEP)
    (refused,) = await house.pipeline().look()
    assert (refused.change_id, refused.state) == (change.change_id, ChangeState.REJECTED)
    assert (await in_force(house.client)).settings.recall_k == 5


class Ending:
    """The bus of a process that ends at its nth request: before it is sent, or before its answer is heard."""

    def __init__(self, bus: Any, at: int, *, sent: bool) -> None:
        self._bus, self._left, self._sent = bus, at, sent

    async def request(self, contract: Any, message: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._sent:
            raise asyncio.CancelledError
        answer = await self._bus.request(contract, message)
        if self._left == 0:
            raise asyncio.CancelledError
        return answer


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("at", range(1, 8))
async def test_a_process_that_ends_anywhere_leaves_a_change_that_the_next_one_finishes(
    house: House, at: int, sent: bool
) -> None:
    change = await decide(house.client, await propose(house.client, 6), Decision.ACCEPT)
    bus = Ending(house.client.bus, at, sent=sent)
    for bus_of_life in (bus, bus, None, None):
        with suppress(asyncio.CancelledError):
            await house.pipeline(bus_of_life).look()
        found = await read(house.client, change)
        assert found.in_force == (found.state is ChangeState.APPLIED)
        assert (await in_force(house.client)).settings.recall_k == (6 if found.in_force else 8)
        assert await whole(house.client)
    told = await read(house.client, change)
    assert [step.state.value for step in told.steps] == ["proposed", "evaluated", "applied"]
