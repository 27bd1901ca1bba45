"""The load decides, the ledger says so, and the workers follow: on a real ledger, with Deployments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from libs.shared.contracts.ledger import LIST_CHANGES, OPTIMIZER_ACTOR, Change, ChangeState, Decision, ListChanges
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scaling import WorkerTold
from libs.shared.contracts.scheduling import Preempt
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.scaling import base, changing, keeping
from services.optimizer.scaling.base import Bounds
from services.optimizer.scaling.changing import KEY, Counts
from services.optimizer.scaling.deciding import FEWER_AFTER_S, LOOK_EVERY_S, MORE_REST_S, UNDONE_REST_S, Room
from services.optimizer.scaling.hearing import Heard
from services.optimizer.scaling.keeping import Scaling, asked_for
from services.optimizer.scaling.kubernetes import Cluster, Deployments
from tests.integration.persistence.test_living_changes import decide, in_force, propose, read, whole
from tests.support.api_server import ApiServer, Deployment, api_server, make_account, target
from tests.support.persistence import Client

BEGAN = datetime.now(UTC)


class House:
    """Scaling over a real ledger and an API server; ``now`` is its monotonic clock."""

    def __init__(self, client: Client, server: ApiServer, account: Path) -> None:
        self.client, self.server = client, server
        self.now = 1000.0
        self.room = Room(8)
        self.settings = RuntimeSettings()
        self.heard = Heard(None, 75.0, lambda: self.now)
        bounds = {"cognition": Bounds(1, 3), "inference": Bounds(1, 2)}
        self.scaler = Deployments(Cluster(server.url, account), bounds)
        self.anchor = (datetime.now(UTC), self.now)
        """The ledger's time of what happened last, and this clock's."""
        self.scaling = Scaling(
            self.scaler,
            Counts(client.bus),
            self.heard,
            lambda: self.settings,
            lambda _: self.room,
            lambda: self.now,
            lambda: self.anchor[0] + timedelta(seconds=self.now - self.anchor[1]),
        )

    async def look(self, busy: float | None = None) -> None:
        """Another look; the cluster does at once what it was asked for."""
        self.now += LOOK_EVERY_S
        if busy is not None:
            told = WorkerTold(worker="a", at=BEGAN, interval_s=2, busy=busy, late_s=0, memory_mib=100)
            await self.heard.worker("cognition", told)
        self.settings = (await in_force(self.client)).settings
        await self.scaling.look()
        moved = await Counts(self.client.bus).last_moved()
        if moved is not None and moved[0] > self.anchor[0]:
            self.anchor = (moved[0], self.now)
        for one in self.server.deployments.values():
            one.ready = one.replicas

    async def looks(self, seconds: float, busy: float) -> None:
        for _ in range(int(seconds / LOOK_EVERY_S) + 2):
            await self.look(busy)

    async def changes(self) -> list[Change]:
        return list((await self.client.bus.request(LIST_CHANGES, ListChanges(key=KEY, steps=True))).changes)

    @property
    def replicas(self) -> int:
        return self.server.deployments["cognition"].replicas


@pytest_asyncio.fixture
async def house(client: Client, tmp_path: Path) -> AsyncIterator[House]:
    async with api_server() as server:
        server.deployments = {"cognition": Deployment(1, 1), "inference": Deployment(1, 1)}
        server.may_scale = {"cognition", "inference"}
        made = House(client, server, make_account(tmp_path / "account"))
        yield made
        await made.scaler.close()


async def test_a_load_that_lasts_brings_another_and_the_ledger_says_why(house: House) -> None:
    await house.looks(20, 0.95)
    (made,) = await house.changes()
    assert (made.before, made.after, made.state) == ({}, {"cognition": 2}, ChangeState.APPLIED)
    assert "used to 95% for 15 s: 2 instead of 1" in made.reason
    assert [step.state.value for step in made.steps] == ["proposed", "evaluated", "applied"]
    await house.look(0.5)
    assert house.replicas == 2
    assert await whole(house.client)


async def test_it_rests_after_each_change_then_goes_on_to_the_most_and_no_further(house: House) -> None:
    await house.looks(20, 0.95)
    await house.looks(MORE_REST_S - 30, 0.95)
    assert house.replicas == 2
    await house.looks(60, 0.95)
    assert house.replicas == 3
    await house.looks(150, 0.95)
    assert house.replicas == 3
    newest, first = await house.changes()
    assert (newest.state, first.state) == (ChangeState.APPLIED, ChangeState.KEPT)
    assert "the load asks for another count" in first.steps[-1].reason


async def test_what_nobody_needs_any_more_goes_one_by_one(house: House) -> None:
    await house.looks(20, 0.95)
    await house.looks(FEWER_AFTER_S - 30, 0.1)
    assert house.replicas == 2
    await house.looks(600, 0.1)
    assert house.replicas == 1
    assert (await in_force(house.client)).settings.workers == {"cognition": 1}


async def test_one_that_was_undone_is_not_tried_again_for_an_hour(house: House) -> None:
    await house.looks(20, 0.95)
    (made,) = await house.changes()
    await decide(house.client, made, Decision.ROLL_BACK)
    await house.look(0.95)
    house.now += UNDONE_REST_S - 300
    await house.looks(60, 0.95)
    assert house.replicas == 1
    house.now += 300
    await house.looks(30, 0.95)
    assert house.replicas == 2


async def test_without_that_rest_it_would_be(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.optimizer.scaling.deciding.UNDONE_REST_S", 0.0)
    await house.looks(20, 0.95)
    await decide(house.client, (await house.changes())[0], Decision.ROLL_BACK)
    await house.look(0.95)
    house.now += MORE_REST_S
    await house.looks(30, 0.95)
    assert house.replicas == 2


async def test_what_the_machine_does_not_carry_is_not_even_proposed(house: House) -> None:
    house.room = Room(0, "there is no memory for another")
    await house.looks(60, 1.0)
    assert not await house.changes()
    told = {one.name: one for one in house.scaling.told()}
    assert "no memory" in told["cognition"].reason


async def test_where_an_autoscaler_stands_nothing_is_proposed_or_set(house: House) -> None:
    house.server.autoscalers.append(target("cognition"))
    await propose(house.client, {"cognition": 2}, key=KEY, actor="root", apply=True)
    await house.looks(60, 1.0)
    assert len(await house.changes()) == 1
    assert not house.server.patched
    assert {one.name: one.autoscaled for one in house.scaling.told()} == {"cognition": True, "inference": False}


async def test_what_somebody_set_holds_while_it_is_watched_and_is_the_loads_again_once_it_is_kept(house: House) -> None:
    edit = await propose(house.client, {"cognition": 3}, key=KEY, actor="root", apply=True)
    await house.looks(640, 0.01)
    assert house.replicas == 3
    assert len(await house.changes()) == 1
    await decide(house.client, edit, Decision.KEEP)
    await house.looks(LOOK_EVERY_S, 0.01)
    assert house.replicas == 2


async def test_nobody_gets_more_than_the_most(house: House) -> None:
    await propose(house.client, {"cognition": 60}, key=KEY, actor="root", apply=True)
    await house.look(0.5)
    assert house.replicas == 3


async def test_a_count_that_is_rolled_back_is_as_many_as_it_was_set_up_with(house: House) -> None:
    edit = await propose(house.client, {"cognition": 0}, key=KEY, actor="root", apply=True)
    await house.look()
    assert house.replicas == 0
    await decide(house.client, edit, Decision.ROLL_BACK)
    await house.look()
    assert house.replicas == 1


async def test_none_at_all_is_refused_where_somebody_asked_lately_whoever_proposes_it(house: House) -> None:
    await house.heard.asked(Preempt(kind="chat", arrived_at=BEGAN))
    proposed = await propose(house.client, {"cognition": 0}, key=KEY, actor="operator")
    await house.look(0.2)
    refused = await read(house.client, proposed)
    assert refused.state is ChangeState.REJECTED
    assert "nothing would answer" in refused.steps[-1].reason
    beyond = await propose(house.client, {"cognition": 9}, key=KEY, actor="operator")
    await house.look(0.2)
    assert (await read(house.client, beyond)).state is ChangeState.REJECTED
    fits = await propose(house.client, {"cognition": 2}, key=KEY, actor="operator")
    await house.look(0.2)
    assert (await read(house.client, fits)).state is ChangeState.PROPOSED, "an administrator decides"


async def test_without_judging_it_would_wait_for_somebody_to_allow_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "judged", lambda *_: changing.Judged(True, ""))
    await house.heard.asked(Preempt(kind="chat", arrived_at=BEGAN))
    proposed = await propose(house.client, {"cognition": 0}, key=KEY, actor="operator")
    await house.look(0.2)
    assert (await read(house.client, proposed)).state is ChangeState.PROPOSED


async def test_after_a_kept_count_of_none_the_first_who_finds_nobody_brings_one_back(house: House) -> None:
    edit = await propose(house.client, {"cognition": 0}, key=KEY, actor="root", apply=True)
    await house.look()
    await decide(house.client, edit, Decision.KEEP)
    await house.looks(60, 0.0)
    assert house.replicas == 0
    await house.heard.unanswered(TurnMeasured(began=BEGAN, failed=True))
    house.now += 10 * LOOK_EVERY_S  # what told of itself is gone
    await house.heard.unanswered(TurnMeasured(began=BEGAN, failed=True))
    await house.look()
    await house.look()
    assert house.replicas == 1


async def test_where_an_administrator_has_to_allow_it_one_proposal_waits_and_is_withdrawn_with_the_load(
    house: House,
) -> None:
    await propose(house.client, "settings", key="approval", actor="root", apply=True)
    await house.looks(60, 0.95)
    (waits,) = await house.changes()
    assert waits.state is ChangeState.EVALUATED
    assert house.replicas == 1
    await house.looks(30, 0.3)
    assert (await read(house.client, waits)).state is ChangeState.REJECTED
    assert waits.proposed.actor == OPTIMIZER_ACTOR


def test_what_the_ledger_does_not_name_is_as_it_was_set_up() -> None:
    count = base.Count(3, 3, 2, 5)
    assert asked_for(RuntimeSettings(), "cognition", count) == 2
    assert asked_for(RuntimeSettings(workers={"other": 9}), "cognition", count) == 2
    assert asked_for(RuntimeSettings(workers={"cognition": 9}), "cognition", count) == 5
