"""Live events over HTTP: who is told what, what a slow or returning client is told, and how a stream ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from libs.shared.contracts.adapters import ADAPTERS_CHANGED, Adapters, AdaptersChanged, InService, KeptAdapter
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Role
from libs.shared.contracts.events import AdapterChange, AdapterChanged, Ended, EventType
from libs.shared.contracts.training import (
    LIST_RUNS,
    RUN_CHANGED,
    RUN_PROGRESSED,
    ListRuns,
    RunProgress,
    RunProgressed,
    RunRef,
    RunState,
    TrainingRun,
    TrainingRuns,
)
from services.api.access import Caller
from services.api.live.events import Happened, may_see, written
from services.api.live.mailbox import Mailbox, Told
from services.api.live.telling import MOST_KEPT, MOST_OF_ONE
from services.api.live.watching import Watch, adapter_changes, run_changes
from tests.unit.api.house import Api, served
from tests.unit.api.test_adapters import kept
from tests.unit.api.test_training import RUN

PATH = "/api/v1/events"
DEADLINE_S = 20


def caller(user: str = "ana", role: Role | None = Role.USER) -> Caller:
    return Caller(user_id=user, role=role, memory="off")  # type: ignore[arg-type]


def progressed(step: int, run_id: str = "r1") -> RunProgressed:
    progress = RunProgress(phase="mntp", step=step, steps=9, tokens_per_s=80.0, seconds_left=3.0)
    return RunProgressed(run_id=run_id, state=RunState.RUNNING, progress=progress)


def adapter_event(name: str = "ada", users: frozenset[str] | None = frozenset({"ana"})) -> Happened:
    data = AdapterChanged(adapter=name, change=AdapterChange.KEPT)
    return Happened(EventType.ADAPTER_CHANGED, data, users=users)


# ------------------------------------------------------------------ what is decided


@pytest.mark.parametrize(
    ("who", "users", "sees"),
    [
        (caller(), frozenset({"ana"}), True),
        (caller("bob"), frozenset({"ana"}), False),
        (caller("bob"), None, True),
        (caller("bob", None), frozenset({"ana"}), False),
        (caller("ops", Role.OPERATOR), frozenset(), True),
        (caller("root", Role.ADMIN), frozenset({"ana"}), True),
    ],
)
def test_others_than_operators_are_told_what_is_theirs_or_everybodys(
    who: Caller, users: frozenset[str] | None, sees: bool
) -> None:
    assert may_see(who, adapter_event(users=users)) is sees


def test_a_run_is_told_to_operators_alone() -> None:
    (event,) = run_changes((), (RUN,))
    assert (may_see(caller(), event), may_see(caller("ops", Role.OPERATOR), event)) == (False, True)


def test_an_event_is_written_with_its_type_its_id_and_json_on_one_line() -> None:
    event = Happened(EventType.RUN_PROGRESSED, progressed(3), about="r1")
    head, kind, data, *rest = written(event, "b.7").decode().split("\n")
    assert (head, kind, rest) == ("id: b.7", "event: run.progressed", ["", ""])
    assert json.loads(data.removeprefix("data: "))["progress"]["tokens_per_s"] == 80
    with pytest.raises(TypeError):
        Happened(EventType.RUN_CHANGED, progressed(3))


def test_runs_that_are_new_or_in_another_state_are_told_in_their_order() -> None:
    later = RUN.model_copy(update={"run_id": "r2", "created_at": RUN.created_at.replace(year=2027)})
    running = RUN.model_copy(update={"state": RunState.RUNNING, "progress": RunProgress(phase="mntp")})
    assert [event.data for event in run_changes((RUN,), (later, running))] == [running, later]
    further = running.model_copy(update={"progress": RunProgress(phase="saving")})
    assert list(run_changes((running,), (further,))) == []


def in_service(one: KeptAdapter, share: float) -> KeptAdapter:
    return one.model_copy(update={"in_service": (InService(role="chat", share=share),)})


@pytest.mark.parametrize(
    ("before", "now", "told", "users"),
    [
        (None, kept("ada", ("ana",)), ["kept"], {"ana"}),
        (kept("ada"), None, ["removed"], None),
        (kept("ada", ("ana",)), in_service(kept("ada", ("ana",)), 0.1), ["canary"], {"ana"}),
        (in_service(kept("ada"), 0.1), in_service(kept("ada"), 0.5), ["canary"], None),
        (in_service(kept("ada"), 0.1), in_service(kept("ada"), 1.0), ["promoted"], None),
        (in_service(kept("ada"), 1.0), kept("ada"), ["rolled_back"], None),
        (kept("ada"), kept("ada").model_copy(update={"tainted": True}), ["tainted"], None),
        (kept("ada", ("ana",)), kept("ada"), ["shared"], None),
        (kept("ada"), kept("ada", ("ana",)), ["restricted"], None),
        (kept("ada", ("ana",)), kept("ada", ("ana",)), [], None),
    ],
)
def test_what_happened_to_an_adapter_follows_from_how_it_stood(
    before: KeptAdapter | None, now: KeptAdapter | None, told: list[str], users: set[str] | None
) -> None:
    found = list(adapter_changes([before] if before else [], [now] if now else []))
    assert [event.data.change for event in found if isinstance(event.data, AdapterChanged)] == told
    assert all(event.users == users for event in found)


async def test_a_slow_client_keeps_the_newest_progress_and_is_told_when_a_change_was_lost() -> None:
    mailbox = Mailbox(caller("ops", Role.OPERATOR), (), most=3)
    for step in range(50):
        mailbox.put(Told(Happened(EventType.RUN_PROGRESSED, progressed(step), about="r1"), f"b.{step}"))
    for number in range(3):
        mailbox.put(Told(adapter_event(), f"c.{number}"))
    assert [told.event_id for told in await mailbox.wait(DEADLINE_S)] == ["c.0", "c.1", "c.2"], "progress gave way"
    mailbox.put(Told(Happened(EventType.RUN_PROGRESSED, progressed(1), about="r1"), "d.1"))
    mailbox.put(Told(Happened(EventType.RUN_PROGRESSED, progressed(2), about="r1"), "d.2"))
    assert [told.event_id for told in await mailbox.wait(DEADLINE_S)] == ["d.2"]
    for number in range(4):
        mailbox.put(Told(adapter_event(), f"e.{number}"))
    mailbox.put(Told(adapter_event(), "e.4"))
    first, second = await mailbox.wait(DEADLINE_S)
    assert (first.event.type, second.event_id) == (EventType.LOST, "e.4")
    assert await mailbox.wait(0.0) == []


async def test_a_mailbox_takes_what_its_client_asked_for_and_may_see() -> None:
    mailbox = Mailbox(caller(), {EventType.ADAPTER_CHANGED}, most=3)
    mailbox.put(Told(adapter_event(users=frozenset({"bob"})), "b.1"))
    mailbox.put(Told(Happened(EventType.RUN_CHANGED, RUN, users=None), "b.2"))
    mailbox.put(Told(adapter_event(), "b.3"))
    assert [told.event_id for told in await mailbox.wait(DEADLINE_S)] == ["b.3"]


async def test_a_first_look_at_a_list_tells_nothing() -> None:
    lists = [(RUN,), (RUN.model_copy(update={"state": RunState.DONE}),)]
    told: list[Happened] = []

    async def read() -> tuple[TrainingRun, ...]:
        return lists.pop(0)

    watch = Watch(read, run_changes, told.append)
    await watch.look()
    assert told == []
    await watch.look()
    assert [event.data for event in told] == [RUN.model_copy(update={"state": RunState.DONE})]


# ------------------------------------------------------------------ over HTTP


@dataclass
class Read:
    """Events as a client reads them."""

    lines: AsyncIterator[str]

    async def next(self) -> dict[str, Any]:
        """The next event: its id, its type and its data."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(DEADLINE_S):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if name == "data":
                    found["data"] = json.loads(value)
                elif name in ("id", "event"):
                    found[name] = value
                elif not line and "data" in found:
                    return found
        raise AssertionError("the stream has ended")

    async def is_over(self) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            return [line async for line in self.lines if line] == []


@dataclass
class Listening:
    """The api on a socket, with all that it watches."""

    api: Api
    client: httpx.AsyncClient
    runs: tuple[TrainingRun, ...] = (RUN,)

    @asynccontextmanager
    async def open(self, headers: dict[str, str], **query: Any) -> AsyncIterator[Read]:
        async with self.client.stream("GET", PATH, headers=headers, params=query) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield Read(answer.aiter_lines())

    async def set_adapters(self, *names: tuple[str, tuple[str, ...] | None]) -> None:
        self.api.house.adapters = Adapters(adapters=tuple(kept(*one) for one in names), key="")
        bus = self.api.house.buses[Principal.PERSISTENCE]
        await bus.broadcast(ADAPTERS_CHANGED, AdaptersChanged(adapter="ada"))

    async def set_run(self, state: RunState) -> None:
        self.runs = (RUN.model_copy(update={"state": state}),)
        await self.api.house.buses[Principal.PERSISTENCE].broadcast(RUN_CHANGED, RunRef(run_id="r1"))

    async def progress(self, step: int) -> None:
        await self.api.house.buses[Principal.TRAINER].broadcast(RUN_PROGRESSED, progressed(step))

    async def every(self, _: ListRuns) -> TrainingRuns:
        return TrainingRuns(runs=self.runs)


@pytest.fixture
async def listening(api: Api) -> AsyncIterator[Listening]:
    async with AsyncExitStack() as stack:
        host, port = await stack.enter_async_context(served(api))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=30))
        made = Listening(api, client)
        await api.house.buses[Principal.PERSISTENCE].serve(LIST_RUNS, made.every)
        live = api.parts.live
        await live._runs.look()
        await live._adapters.look()
        running = asyncio.ensure_future(live.run())
        yield made
        running.cancel()
        await asyncio.wait([running])


async def test_operators_hear_of_runs_and_users_of_their_adapters(listening: Listening) -> None:
    operator, ana = await listening.api.session("ops", Role.OPERATOR), listening.api.key("ana")
    async with listening.open(operator) as told, listening.open(ana) as own:
        await listening.progress(4)
        first = await told.next()
        assert (first["event"], first["data"]["progress"]["step"]) == ("run.progressed", 4)
        await listening.set_run(RunState.DONE)
        second = await told.next()
        assert (second["event"], second["data"]["state"]) == ("run.changed", "done")
        assert second["id"] != first["id"]
        await listening.set_adapters(("ada", ("id-ana",)), ("eve", ("id-eve",)))
        heard = await own.next()
        assert (heard["event"], heard["data"]["adapter"]) == ("adapter.changed", "ada")
        assert [(await told.next())["data"]["adapter"] for _ in range(2)] == ["ada", "eve"]
        assert "id-" not in json.dumps(heard["data"]), "nobody is told whose it is"


async def test_a_client_that_comes_again_is_told_what_it_missed_or_that_nobody_knows(listening: Listening) -> None:
    operator = await listening.api.session("ops", Role.OPERATOR)
    async with listening.open(operator, type="run.changed") as told:
        await listening.set_run(RunState.RUNNING)
        last = (await told.next())["id"]
        await listening.set_run(RunState.DONE)
        assert (await told.next())["data"]["state"] == "done"
    async with listening.open({**operator, "Last-Event-ID": last}) as told:
        assert (await told.next())["data"]["state"] == "done"
    for unknown in ("another.1", "9" * 40, "", last + "9"):
        async with listening.open({**operator, "Last-Event-ID": unknown}) as told:
            first = await told.next()
            assert (first["event"], first["data"], "id" in first) == ("lost", {"reason": "unknown"}, False)
    for _ in range(MOST_KEPT + 1):
        listening.api.parts.live.tell(adapter_event())
    async with listening.open({**operator, "Last-Event-ID": last}) as told:
        assert (await told.next())["event"] == "lost"


async def test_a_stream_ends_when_its_credential_does(listening: Listening) -> None:
    api = listening.api
    operator = await api.session("ops", Role.OPERATOR)
    async with listening.open(operator) as told:
        api.clock.now += api.parts.settings.access_token_s + 1
        await listening.progress(1)
        assert (await told.next())["data"] == {"reason": "credential"}
        assert await told.is_over()
    key = api.key("ops", Role.OPERATOR, scopes=("operator",))
    async with listening.open(key) as told:
        await listening.progress(2)
        assert (await told.next())["event"] == "run.progressed"
        api.house.keys.clear()
        await api.house.account_changed("id-ops")
        await listening.progress(3)
        assert (await told.next())["event"] == "ended"


async def test_a_stream_ends_at_once_when_the_gateway_stops(listening: Listening) -> None:
    operator = await listening.api.session("ops", Role.OPERATOR)
    async with listening.open(operator) as told:
        await listening.set_adapters(("ada", None))
        assert (await told.next())["event"] == "adapter.changed"
        listening.api.parts.live.stop()
        ended = await told.next()
        assert (ended["event"], Ended.model_validate(ended["data"]).reason) == ("ended", "stopping")
        assert await told.is_over()
    answer = await listening.client.get(PATH, headers=operator)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_one_caller_can_not_take_all_streams_and_gives_its_own_back(listening: Listening) -> None:
    ana, bob = listening.api.key("ana"), listening.api.key("bob")
    async with AsyncExitStack() as stack:
        for _ in range(MOST_OF_ONE):
            await stack.enter_async_context(listening.open(ana))
        refused = await listening.client.get(PATH, headers=ana)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "30"
        await stack.enter_async_context(listening.open(bob))
    status = 429
    async with asyncio.timeout(DEADLINE_S):
        while status == 429:  # until the gateway has noticed that they are gone
            async with listening.client.stream("GET", PATH, headers=ana) as answer:
                status = answer.status_code
    assert status == 200


async def test_a_type_that_is_none_is_refused(api: Api) -> None:
    answer = await api.client.get(PATH, headers=api.key(), params={"type": "weather"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
