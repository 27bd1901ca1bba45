"""The night over HTTP: how it stands, a cycle that is asked for, refusals, and live events."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Role, Stamp
from libs.shared.contracts.events import EventType
from libs.shared.contracts.ledger import LEDGER_CHANGED, Change, ChangeRecorded, ChangeState, ListChanges
from libs.shared.contracts.sleep import (
    SLEEP_CHANGED,
    SLEEP_NOW,
    SLEEP_STATUS,
    Cycle,
    CycleState,
    Phase,
    PhaseOutcome,
    ReadSleep,
    SleepNow,
    SleepStatus,
)
from libs.shared.errors import NothingToDo
from services.api.access import Caller
from services.api.live.events import may_see
from services.api.live.mailbox import Mailbox
from services.api.live.watching import ledger_changes
from tests.unit.api.house import Api

PATH = "/api/v1/sleep"
CYCLE = Cycle(
    cycle_id="c1",
    state=CycleState.RUNNING,
    begun_at=datetime(2026, 5, 4, tzinfo=UTC),
    phases=(PhaseOutcome(phase=Phase.LIGHT),),
)
STATUS = SleepStatus(enabled=True, phases=(Phase.LIGHT,), idle=False, reasons=("recent_request",), running=CYCLE)


class Optimizer:
    """What was asked of it."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def serve(self, api: Api) -> None:
        bus = api.house.buses[Principal.OPTIMIZER]
        await bus.serve(SLEEP_NOW, self.now)
        await bus.serve(SLEEP_STATUS, self.status)

    async def now(self, wanted: SleepNow) -> Cycle:
        self.asked.append(wanted)
        if wanted.phases == (Phase.DEEP,):
            raise NothingToDo
        return CYCLE

    async def status(self, wanted: ReadSleep) -> SleepStatus:
        self.asked.append(wanted)
        return STATUS


@pytest.fixture
async def optimizer(api: Api) -> Optimizer:
    made = Optimizer()
    await made.serve(api)
    return made


async def test_how_it_stands_is_told_with_reasons(api: Api, optimizer: Optimizer) -> None:
    headers = await api.session("ops", Role.OPERATOR)
    told = await api.client.get(PATH, params={"cycles": 3}, headers=headers)
    assert told.json() == STATUS.model_dump(mode="json")
    assert optimizer.asked == [ReadSleep(cycles=3)]


async def test_a_cycle_is_begun_with_the_phases_that_were_named(api: Api, optimizer: Optimizer) -> None:
    headers = await api.session("ops", Role.OPERATOR)
    begun = await api.client.post(f"{PATH}/now", json={"phases": ["light"]}, headers=headers)
    assert (begun.status_code, begun.json()["cycle_id"]) == (202, "c1")
    assert optimizer.asked == [SleepNow(phases=(Phase.LIGHT,))]
    refused = await api.client.post(f"{PATH}/now", json={"phases": ["deep"]}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_do")
    for body in ({"phases": ["nap"]}, {"when": "now"}):
        assert (await api.client.post(f"{PATH}/now", json=body, headers=headers)).status_code == 422


async def test_without_an_optimizer_it_is_said_so_and_answers_go_on(api: Api) -> None:
    await api.house.buses[Principal.OPTIMIZER].drain(1.0)
    told = await api.client.get(PATH, headers=await api.session("ops", Role.OPERATOR))
    assert (told.status_code, told.json()["code"]) == (503, "unavailable")
    assert (await api.ask(api.key())).status_code == 200


async def test_a_cycle_is_told_live_to_operators_alone(api: Api) -> None:
    await api.parts.live.start()
    operator = api.parts.live.join(Caller(user_id="ops", role=Role.OPERATOR, memory="off"))  # type: ignore[arg-type]
    user = Mailbox(Caller(user_id="ana", role=Role.USER, memory="off"), ())  # type: ignore[arg-type]
    await api.house.buses[Principal.OPTIMIZER].broadcast(SLEEP_CHANGED, CYCLE)
    (told,) = await operator.wait(20)
    assert (told.event.type, told.event.data) == (EventType.SLEEP_CHANGED, CYCLE)
    assert not may_see(user.caller, told.event)
    api.parts.live.leave(operator)


def change(number: int, state: ChangeState) -> Change:
    stamp = Stamp(actor="optimizer", at=datetime(2026, 5, 4, tzinfo=UTC))
    return Change(
        change_id=f"ch{number}",
        sequence=number,
        key="recall_k",
        before=8,
        after=6,
        reason="",
        state=state,
        proposed=stamp,
        previous_hash="",
        hash="",
    )


async def test_the_ledger_is_looked_at_as_soon_as_persistence_says_that_it_changed(api: Api) -> None:
    await api.parts.live.start()
    operator = api.parts.live.join(Caller(user_id="ops", role=Role.OPERATOR, memory="off"))  # type: ignore[arg-type]
    looking = asyncio.create_task(api.parts.live._ledger.run())
    async with asyncio.timeout(20):
        while not api.house.told(ListChanges):  # noqa: ASYNC110 - of its first look there is no event
            await asyncio.sleep(0)
    found = change(1, ChangeState.APPLIED)
    api.house.changes = (found,)
    told = ChangeRecorded(change_id="ch1", sequence=1, state=found.state, hash="", at=found.proposed.at)
    await api.house.buses[Principal.PERSISTENCE].broadcast(LEDGER_CHANGED, told)
    (heard,) = await operator.wait(20)
    assert (heard.event.type, heard.event.data) == (EventType.CHANGE_CHANGED, found)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    api.parts.live.leave(operator)


def test_a_change_is_told_when_it_is_new_or_in_another_state() -> None:
    before = (change(1, ChangeState.CANARY), change(0, ChangeState.KEPT))
    now = (change(2, ChangeState.PROPOSED), change(1, ChangeState.KEPT), change(0, ChangeState.KEPT))
    told = [event.data for event in ledger_changes(before, now)]
    assert told == [now[1], now[0]]
