"""Turns whose first node is late: a second one is asked, one answer comes, and every end is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from libs.shared.contracts.chat import CHAT
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import Outcome
from libs.shared.errors import BackendFailed, NoNode, Overloaded, ServiceError
from libs.shared.telemetry.metrics import REGISTRY
from services.cognition.hedging import FEWEST, LEAST_S, HedgeBudget
from services.cognition.second_copy import SecondCopy
from tests.unit.cognition.asking import text
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import USAGE, Answers, whole
from tests.unit.cognition.test_measuring import total

LIMIT_S = 20
ON = RuntimeSettings(hedging=True)
PLAIN = request(memory=MemoryMode.OFF, conversation_id="c1")


@dataclass
class Replica:
    """Answers at once; once it is ``hung`` not before ``release``, and then as it is told to."""

    hung: bool = False
    fails: ServiceError | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    then: Callable[[], AsyncIterator[GenerateChunk]] | None = None

    async def answer(self, given: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        self.asked.set()
        try:
            if self.hung:
                await self.release.wait()
            if self.fails is not None:
                raise self.fails
            async for chunk in whole(given) if self.then is None else self.then():
                yield chunk
        finally:
            self.stopped.set()


def hedges(what: str) -> float:
    labels = {"llm_ray_hedge": what}
    return REGISTRY.get_sample_value("llm_ray_hedges_total", labels) or 0.0


async def measured(household: Build, *answers: Answers, runtime: RuntimeSettings = ON) -> Household:
    """A household that has answered enough requests to know when one is late, and to have earned a second copy."""
    home = await household(*answers, runtime=runtime)
    home.scheduler.apart, home.scheduler.expected_first_s = True, 0.01
    for number in range(FEWEST):
        await home.ask(request(turn_id=f"before-{number}", memory=MemoryMode.OFF))
    await told(home, FEWEST)
    home.scheduler.outcomes.clear()
    home.scheduler.asked.clear()
    home.inference.requests.clear()
    return home


async def told(home: Household, count: int) -> list[Outcome]:
    """The first ``count`` ends that the scheduler is told of."""
    async with asyncio.timeout(LIMIT_S):
        while len(home.scheduler.outcomes) < count:
            home.scheduler.told.clear()
            await home.scheduler.told.wait()
    return sorted(home.scheduler.outcomes, key=lambda o: o.replica)


async def until(reached: Callable[[], bool]) -> None:
    """Returns once it is so."""
    async with asyncio.timeout(LIMIT_S):
        while not reached():  # noqa: ASYNC110 - neither a counter nor a list wakes anybody
            await asyncio.sleep(0.005)


@dataclass
class Race:
    """A household of a slow node and a quick one."""

    home: Household
    slow: Replica
    quick: Replica


async def race(household: Build) -> Race:
    slow, quick = Replica(), Replica()
    home = await measured(household, slow.answer, quick.answer)
    slow.stopped.clear()
    return Race(home, slow, quick)


async def check_the_quicker_answers(race: Race) -> None:
    home, slow, quick = race.home, race.slow, race.quick

    async def goes_on_once_the_other_is_stopped() -> AsyncIterator[GenerateChunk]:
        yield GenerateChunk(text="Your dog ")
        await slow.stopped.wait()
        yield GenerateChunk(text="is Rex.")
        yield GenerateChunk(finish_reason="stop", usage=USAGE)

    slow.hung, quick.then = True, goes_on_once_the_other_is_stopped
    won, sent, outrun = hedges("won"), hedges("sent"), total("llm_ray_failures_total", reason="outrun")
    async with asyncio.timeout(LIMIT_S):
        chunks = await home.ask(PLAIN)
    assert text(chunks) == "Your dog is Rex."
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]
    assert (hedges("sent") - sent, hedges("won") - won) == (1, 1)
    first, second = await told(home, 2)
    assert (first.replica, first.ok, first.reason, first.ticket and first.ticket.number) == ("r0", None, None, 1)
    assert (second.replica, second.ok, second.ticket and second.ticket.number) == ("r1", True, 2)
    assert total("llm_ray_failures_total", reason="outrun") - outrun == 1
    first_place, place = home.scheduler.asked
    assert (first_place.session, place.session) == ("c1", None), "a session stays where it was read"
    assert (place.model, place.exclude_nodes) == ("llama", ("node-of-r0",))
    assert [replica for replica, _ in home.inference.requests] == ["r0", "r1"]


async def test_a_late_first_token_comes_from_another_node_and_the_slow_one_stops(household: Build) -> None:
    await check_the_quicker_answers(await race(household))


async def test_a_slow_one_that_is_not_stopped_would_be_noticed(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = await race(household)
    monkeypatch.setattr("services.cognition.racing._outrun", lambda loser, task: setattr(loser, "outrun", True))
    monkeypatch.setattr("tests.unit.cognition.test_second_copy.LIMIT_S", 1.0)
    with pytest.raises(TimeoutError):
        await check_the_quicker_answers(ready)


async def test_a_second_that_is_slower_still_is_stopped(household: Build) -> None:
    first, second = Replica(), Replica(hung=True)
    home = await measured(household, first.answer, second.answer)
    first.hung = True
    lost = hedges("lost")
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(home.ask(PLAIN))
        await second.asked.wait()
        first.release.set()
    assert text(asking.result()) == "Your dog is Rex."
    async with asyncio.timeout(LIMIT_S):
        await second.stopped.wait()
    assert hedges("lost") - lost == 1
    assert [(o.replica, o.ok) for o in await told(home, 2)] == [("r0", True), ("r1", None)]


@pytest.mark.parametrize(
    ("runtime", "watched"),
    [(ON, True), (RuntimeSettings(), False), (RuntimeSettings(hedging=True, hedging_prompt_tokens=1), False)],
    ids=["on", "off", "too long"],
)
async def test_only_a_short_request_is_watched_and_only_where_it_is_switched_on(
    household: Build, monkeypatch: pytest.MonkeyPatch, runtime: RuntimeSettings, watched: bool
) -> None:
    home = await measured(household, whole, whole, runtime=runtime)
    begun: list[SecondCopy] = []

    async def never(self: SecondCopy) -> None:
        begun.append(self)

    monkeypatch.setattr(SecondCopy, "find", never)
    assert text(await home.ask(PLAIN)) == "Your dog is Rex."
    assert bool(begun) == watched
    assert len(home.scheduler.asked) == 1


async def test_switched_on_while_it_runs_it_works_once_a_copy_is_earned(household: Build) -> None:
    first, second = Replica(), Replica()
    home = await measured(household, first.answer, second.answer, runtime=RuntimeSettings())
    home.in_force = RuntimeSettings(hedging=True, hedging_share=0.2)
    expected_s, home.scheduler.expected_first_s = home.scheduler.expected_first_s, None
    for number in range(5):
        await home.ask(request(turn_id=f"earning-{number}", memory=MemoryMode.OFF))
    first.hung, home.scheduler.expected_first_s = True, expected_s
    async with asyncio.timeout(LIMIT_S):
        assert text(await home.ask(PLAIN)) == "Your dog is Rex."
    assert home.inference.requests[-1][0] == "r1"


@pytest.mark.parametrize(
    "refusal", [Overloaded("full", retry_after_s=1.0), NoNode("none", retry_after_s=1.0)], ids=["full", "no other"]
)
async def test_where_no_other_node_has_room_the_first_is_waited_for(household: Build, refusal: ServiceError) -> None:
    first, second = Replica(), Replica()
    home = await measured(household, first.answer, second.answer)
    first.hung, home.scheduler.refusal = True, refusal
    before = hedges("no_node")
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(home.ask(PLAIN))
        await until(lambda: hedges("no_node") > before)
        first.release.set()
    assert text(asking.result()) == "Your dog is Rex."
    first_place, second_place = home.scheduler.asked[:2]
    assert first_place.first_within_s is None
    assert second_place.first_within_s is not None
    assert second_place.first_within_s >= LEAST_S
    assert not second.asked.is_set()
    assert [(o.replica, o.ok) for o in await told(home, 1)] == [("r0", True)]


async def test_the_longer_the_first_is_silent_the_slower_the_second_may_be(household: Build) -> None:
    first, second = Replica(), Replica()
    home = await measured(household, first.answer, second.answer)
    first.hung, home.scheduler.slowest_s = True, 0.5
    async with asyncio.timeout(LIMIT_S):
        assert text(await home.ask(PLAIN)) == "Your dog is Rex."
    within_s = [place.first_within_s or 0.0 for place in home.scheduler.asked[1:]]
    assert within_s == [within_s[0] * 2**number for number in range(len(within_s))]
    assert within_s[-1] >= 0.5
    assert all(seconds < 0.5 for seconds in within_s[:-1])
    assert [replica for replica, _ in home.inference.requests] == ["r0", "r1"]


async def test_beyond_its_budget_no_second_node_is_asked(household: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Replica(), Replica()
    home = await measured(household, first.answer, second.answer)
    first.hung = True
    refused = asyncio.Event()

    def nothing_left(_: HedgeBudget) -> bool:
        refused.set()
        return False

    monkeypatch.setattr(HedgeBudget, "spend", nothing_left)
    before = hedges("no_budget")
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(home.ask(PLAIN))
        await refused.wait()
        first.release.set()
    assert text(asking.result()) == "Your dog is Rex."
    assert hedges("no_budget") > before
    assert len(home.scheduler.asked) == 1


async def test_a_second_that_fails_fails_nothing(household: Build) -> None:
    first, second = Replica(), Replica(fails=BackendFailed("second"))
    home = await measured(household, first.answer, second.answer)
    first.hung = True
    failed = hedges("failed")
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(home.ask(PLAIN))
        await second.stopped.wait()
        await told(home, 1)
        first.release.set()
    assert text(asking.result()) == "Your dog is Rex."
    assert hedges("failed") - failed == 1
    assert [(o.replica, o.ok) for o in await told(home, 2)] == [("r0", True), ("r1", False)]


async def test_where_the_first_fails_at_last_the_second_answers(household: Build) -> None:
    first, second = Replica(), Replica(hung=True)
    home = await measured(household, first.answer, second.answer)
    first.hung, first.fails = True, BackendFailed("first")
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        asking = group.create_task(home.ask(PLAIN))
        await second.asked.wait()
        first.release.set()
        await told(home, 1)
        second.release.set()
    assert text(asking.result()) == "Your dog is Rex."
    assert [(o.replica, o.ok) for o in await told(home, 2)] == [("r0", False), ("r1", True)]


async def test_where_both_fail_the_first_s_failure_is_told_and_neither_is_tried_again(household: Build) -> None:
    first, second = Replica(), Replica(fails=Overloaded("second", retry_after_s=1.0))
    home = await measured(household, first.answer, second.answer)
    first.hung, first.fails = True, BackendFailed("first")
    async with asyncio.timeout(LIMIT_S):
        asking = asyncio.create_task(home.ask(PLAIN))
        await second.stopped.wait()
        await told(home, 1)
        first.release.set()
        with pytest.raises(BackendFailed, match="first"):
            await asking
    assert [replica for replica, _ in home.inference.requests] == ["r0", "r1"]
    assert home.scheduler.asked[-1].exclude == ("r1", "r0")


async def test_a_client_that_leaves_stops_both(household: Build) -> None:
    first, second = Replica(), Replica(hung=True)
    home = await measured(household, first.answer, second.answer)
    first.stopped.clear()
    first.hung = True
    async with asyncio.timeout(LIMIT_S):
        async with home.api.stream(CHAT, PLAIN):
            await second.asked.wait()
        await first.stopped.wait()
        await second.stopped.wait()
    assert [(o.replica, o.ok) for o in await told(home, 2)] == [("r0", None), ("r1", None)]


async def test_the_end_of_a_placement_that_came_too_late_is_told(household: Build) -> None:
    """The first node speaks while the scheduler is still choosing a second."""
    first, second = Replica(), Replica()
    home = await measured(household, first.answer, second.answer)
    first.hung, home.scheduler.hold = True, asyncio.Event()
    async with asyncio.timeout(LIMIT_S), home.api.stream(CHAT, PLAIN) as chunks:
        await until(lambda: len(home.scheduler.asked) > 1)
        first.release.set()
        said = [await anext(chunks)]
        home.scheduler.hold.set()
        said += [chunk async for chunk in chunks]
    assert text(said) == "Your dog is Rex."
    assert [(o.replica, o.ok) for o in await told(home, 2)] == [("r0", True), ("r1", None)]
    assert not second.asked.is_set()
