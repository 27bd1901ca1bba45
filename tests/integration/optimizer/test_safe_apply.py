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

from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import PROPOSE_CHANGE, Change, ChangeState, Decision, ProposeChange
from libs.shared.contracts.replay import REPLAY_ASKED, Evidence, ReplayAsked, Replayed
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer import computing
from services.optimizer.phases.base import Job
from services.optimizer.pipeline import driving
from services.optimizer.pipeline.deciding import Action
from services.optimizer.pipeline.driving import Pipeline
from services.optimizer.pipeline.evaluating import MOST_ATTEMPTS, ReplayEvaluation
from services.optimizer.replay.exchange import Evaluated
from services.optimizer.watch.betting import Bet
from services.optimizer.watch.turns import LatestTurns
from services.persistence import ledger as rules
from tests.integration.persistence.test_living_changes import GAIN, decide, in_force, propose, read, whole
from tests.support.persistence import Client
from tests.support.pipeline import pipeline_over
from tests.unit.optimizer.asked import asked

ZEROED = dict.fromkeys(RuntimeSettings().recall_weights.model_dump(), 0.0)
BEFORE, AFTER = 400, 60


class House:
    """A pipeline over a real ledger, and turns and questions as cognition would tell them."""

    def __init__(self, client: Client, bus: Bus, folder: Path) -> None:
        self.client = client
        self.bus = bus
        self.folder = folder
        self.turns = LatestTurns(folder / "turns.json")
        self.evidence: list[Evidence] = []
        self.replays = 0

    def pipeline(self, bus: Any = None, **in_force: Any) -> Pipeline:
        """A new process' own."""
        settings, bus = RuntimeSettings(**in_force), bus or self.bus
        return pipeline_over(bus, self.turns, lambda: settings, lambda: self.now)

    async def evaluated(self, bus: Any = None) -> list[Change]:
        """What becomes of what is proposed."""
        pipeline = self.pipeline(bus)
        await pipeline.look()
        return await pipeline.evaluate()

    async def replay(self, request: ReplayAsked) -> Replayed:
        """In place of cognition: pages of fifty."""
        self.replays += 1
        start = int(request.cursor or 0)
        more = str(start + 50) if start + 50 < len(self.evidence) else None
        return Replayed(evidence=tuple(self.evidence[start : start + 50]), next_cursor=more)

    now = datetime.now(UTC)

    async def said(self, count: int, *, at: datetime, evidence: float) -> None:
        """Turns, five a second."""
        for number in range(count):
            began = at + timedelta(seconds=number / 5)
            await self.turns.told(TurnMeasured(began=began, first_s=0.2, evidence=evidence))


@pytest_asyncio.fixture
async def house(client: Client, broker: MemoryBroker, tmp_path: Path) -> AsyncIterator[House]:
    bus = await broker.connect(Principal.OPTIMIZER)
    made = House(client, bus, tmp_path)
    await client.cognition.serve(REPLAY_ASKED, made.replay)
    yield made
    await bus.drain(1)


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


async def test_what_cannot_be_evaluated_within_an_hour_is_refused(house: House) -> None:
    change = await propose(house.client, 6)
    await house.client.cognition.drain(1)
    house.now = datetime.now(UTC)
    assert await house.evaluated() == []
    house.now += timedelta(hours=2)
    (refused,) = await house.pipeline().look()
    assert (refused.change_id, refused.state) == (change.change_id, ChangeState.REJECTED)
    assert (await in_force(house.client)).settings.recall_k == 8


async def check_what_was_not_evaluated_is_never_applied(house: House) -> None:
    """By a driver that asks for it all the same."""
    await propose(house.client, 6)
    await house.pipeline().look()
    assert (await in_force(house.client)).settings.recall_k == 8
    assert await whole(house.client)


def forgets_the_evaluation(change: Change, *_: Any, **__: Any) -> Action | None:
    return Action(Decision.APPLY, "why not") if change.state is ChangeState.PROPOSED else None


async def test_a_driver_that_forgets_the_evaluation_is_refused_by_the_ledger(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "next_step", forgets_the_evaluation)
    await check_what_was_not_evaluated_is_never_applied(house)


async def test_the_check_notices_a_ledger_that_applies_what_was_only_proposed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "next_step", forgets_the_evaluation)
    monkeypatch.setitem(rules._FROM, Decision.APPLY, rules._FROM[Decision.APPLY] | {ChangeState.PROPOSED})
    with pytest.raises(AssertionError):
        await check_what_was_not_evaluated_is_never_applied(house)


async def check_zeroed_weights_are_stopped_at_evaluation(house: House, actor: str) -> Change:
    house.evidence = asked(200)
    change = await propose(house.client, ZEROED, key="recall_weights", actor=actor)
    await house.evaluated()
    told = await read(house.client, change)
    assert [step.state.value for step in told.steps] == ["proposed", "rejected"]
    (recall,) = [one for one in told.steps[1].measured if one.measure == "recall"]
    assert (recall.by, recall.high < 0) == ("replay", True)
    assert recall.samples > 20
    assert "nothing would be found" in told.steps[1].reason
    assert (await in_force(house.client)).settings.recall_weights == RuntimeSettings().recall_weights
    return told


@pytest.mark.parametrize("actor", ["operator", "optimizer"])
async def test_zeroed_recall_weights_are_stopped_at_evaluation_whoever_proposes_them(house: House, actor: str) -> None:
    await check_zeroed_weights_are_stopped_at_evaluation(house, actor)
    assert await whole(house.client)


async def test_the_check_notices_that_evaluation_is_skipped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def skipped(*_: Any) -> Evaluated:
        return Evaluated(accepted=True, reason="it will be fine")

    monkeypatch.setattr(ReplayEvaluation, "__call__", skipped)
    with pytest.raises(AssertionError):
        await check_zeroed_weights_are_stopped_at_evaluation(house, "optimizer")


async def test_where_nothing_may_be_replayed_what_can_never_be_right_is_refused_all_the_same(house: House) -> None:
    change = await propose(house.client, ZEROED, key="recall_weights")
    await house.evaluated()
    told = (await read(house.client, change)).steps[-1]
    assert (told.state, told.measured) == (ChangeState.REJECTED, ())
    assert "nothing would be found" in told.reason


async def test_an_administrator_forces_what_evaluation_refused_and_the_watch_undoes_it(house: House) -> None:
    refused = await check_zeroed_weights_are_stopped_at_evaluation(house, "operator")
    forced = await decide(house.client, refused, Decision.APPROVE, actor="root")
    assert (await in_force(house.client)).settings.recall_weights.terms == 0
    await applied_amid_turns(house, forced, evidence_after=0.0)
    await house.pipeline().look()
    told = await read(house.client, refused)
    assert [step.state.value for step in told.steps] == ["proposed", "rejected", "applied", "rolled_back"]
    assert await whole(house.client)


BAD = {"terms": 0.0, "episode_terms": 0.0, "meaning": 0.0, "length": 1.5, "importance": 1.0}
BETTER = {"terms": 2.0, "meaning": 0.0, "length": 0.0, "importance": 0.0}


async def test_what_the_optimizer_proposes_is_accepted_by_an_evaluation_of_the_pipelines_own(house: House) -> None:
    house.evidence = asked(200)
    edit = await propose(house.client, BAD, key="recall_weights", actor="root", apply=True)
    await decide(house.client, edit, Decision.KEEP)
    request = ProposeChange(key="recall_weights", value=BETTER, actor="optimizer", measured=(GAIN,))
    change = await house.client.bus.request(PROPOSE_CHANGE, request)
    (accepted,) = await house.evaluated()
    assert (accepted.change_id, accepted.state) == (change.change_id, ChangeState.EVALUATED)
    (applied,) = await house.pipeline().look()
    assert applied.state is ChangeState.APPLIED
    proposed, evaluated, _ = (await read(house.client, change)).steps
    assert proposed.measured == (GAIN,)
    (recall,) = [one for one in evaluated.measured if one.measure == "recall"]
    assert (recall.low > 0, "better by more than chance" in evaluated.reason) == (True, True)


async def test_with_too_little_asked_the_entry_says_so(house: House) -> None:
    house.evidence = asked(8)
    own = await propose(house.client, BETTER, key="recall_weights")
    others = await propose(house.client, 4, actor="operator")
    await house.evaluated()
    refused, waiting = [await read(house.client, change) for change in (own, others)]
    assert (refused.state, waiting.state) == (ChangeState.REJECTED, ChangeState.EVALUATED)
    for told in (refused, waiting):
        assert "nothing can be told from chance" in told.steps[-1].reason
    assert await house.pipeline().look() == [], "what people propose an administrator applies"
    assert (await decide(house.client, waiting, Decision.APPROVE, actor="root")).state is ChangeState.APPLIED


async def test_of_what_no_replay_tells_nothing_is_read(house: House) -> None:
    change = await propose(house.client, True, key="hedging", actor="operator")
    (told,) = await house.evaluated()
    assert (told.change_id, told.state, house.replays) == (change.change_id, ChangeState.EVALUATED, 0)
    assert await house.evaluated() == []


class Broken:
    """A child process that dies each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        monkeypatch.setattr(computing, "command", self.command)

    def command(self, _: Job) -> tuple[str, ...]:
        self.times += 1
        return ("false",)


async def test_an_evaluation_whose_process_dies_is_tried_again_and_then_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.evidence, broken = asked(60), Broken(monkeypatch)
    change, pipeline = await propose(house.client, 6), house.pipeline()
    states = []
    for _ in range(MOST_ATTEMPTS):
        await pipeline.look()
        await pipeline.evaluate()
        states.append((await read(house.client, change)).state)
    assert states == [ChangeState.PROPOSED] * (MOST_ATTEMPTS - 1) + [ChangeState.REJECTED]
    assert broken.times == MOST_ATTEMPTS


async def test_however_many_wait_for_an_administrator_what_came_before_them_is_driven(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "PAGE", 5)
    change = await decide(house.client, await propose(house.client, 6), Decision.ACCEPT)
    for _ in range(12):
        await propose(house.client, True, key="hedging", actor="operator")
    (applied,) = await house.pipeline().look()
    assert (applied.change_id, applied.state) == (change.change_id, ChangeState.APPLIED)


async def test_a_change_that_was_decided_late_ends_the_watch_of_another_however_many_were_proposed_since(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "PAGE", 5)
    old = await propose(house.client, True, key="hedging", actor="operator")
    for _ in range(12):
        one = await propose(house.client, False, key="hedging", actor="operator")
        await decide(house.client, one, Decision.REJECT, actor="root")
    edit = await propose(house.client, 5, actor="root", apply=True)
    await decide(house.client, old, Decision.APPROVE, actor="root")
    late = await read(house.client, old)
    assert late.decided is not None
    await applied_amid_turns(house, edit, evidence_after=0.8)
    await house.pipeline().look()
    assert edit.decided is not None
    assert house.turns.compared(edit.change_id, edit.decided.at, [late.decided.at]).until == late.decided.at
    points = await house.pipeline()._turning_points([await read(house.client, edit)])
    assert {edit.decided.at, late.decided.at} <= set(points)


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
@pytest.mark.parametrize("at", range(1, 12))
async def test_a_process_that_ends_anywhere_leaves_a_change_that_the_next_one_finishes(
    house: House, at: int, sent: bool
) -> None:
    house.evidence = asked(200)
    edit = await propose(house.client, BAD, key="recall_weights", actor="root", apply=True)
    await decide(house.client, edit, Decision.KEEP)
    change = await propose(house.client, BETTER, key="recall_weights")
    bus = Ending(house.bus, at, sent=sent)
    for bus_of_life in (bus, None, None):
        with suppress(asyncio.CancelledError):
            await house.evaluated(bus_of_life)
            await house.pipeline(bus_of_life).look()
        found = await read(house.client, change)
        assert found.in_force == (found.state is ChangeState.APPLIED)
        assert (await in_force(house.client)).settings.recall_weights.terms == (2.0 if found.in_force else 0.0)
        assert await whole(house.client)
    told = await read(house.client, change)
    assert [step.state.value for step in told.steps] == ["proposed", "evaluated", "applied"]
