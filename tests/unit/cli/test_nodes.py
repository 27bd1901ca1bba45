"""Nodes as the command shows them, and waiting until a drained one has nothing left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cli.errors import CommandError, Exit
from cli.nodes import draining, explaining, showing, table, words
from cli.nodes.draining import Left, only_there
from cli.nodes.sparkline import sparkline, spread
from cli.nodes.watching import picture, watch
from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.scheduling import (
    DRAIN,
    LIST_NODES,
    UNDRAIN,
    Considered,
    Drained,
    Explanation,
    Node,
    NodeHistory,
    NodeRef,
    Nodes,
    Refused,
    ReplicaBreaker,
)
from libs.shared.contracts.telemetry import Cpu, Gpu, Memory, Rates
from libs.shared.errors import NodeNotFound, NodeSilent
from tests.unit.scheduler.clusters import model, node

LIMIT_S = 5
MOMENT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def listed(node_id: str = "pi-5", *, reason: str = "ok", age_s: float = 0.4, **about: Any) -> Node:
    breakers = about.pop("breakers", ())
    return Node(
        telemetry=node(node_id, **about),
        age_s=age_s,
        available=reason == "ok",
        reason=reason,
        breaker="open" if breakers else "closed",
        breakers=breakers,
    )


BUSY = listed(
    board="Raspberry Pi 5 Model B Rev 1.0",
    cpu=Cpu(cores=4, utilisation=0.824, load_1m=3.5),
    memory=Memory(total_mib=8064, available_mib=4096),
    temperature_c=84.3,
    throttled=True,
    throttle_reasons=("heat",),
    throttled_since_boot=("heat", "under-voltage"),
    power_w=8.13,
    in_flight=3,
    queued=2,
    in_flight_tokens=1200,
    queued_tokens=34,
    models=[model(rates=Rates(generated_tokens_per_s=9.04, prompt_tokens_per_s=51)), model("minilm", kind="embed")],
)


def shown(*nodes: Node, width: int = 200) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(picture(nodes, width))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def row(text: str, node_id: str = "pi-5") -> str:
    return next(line for line in text.splitlines() if line.startswith(node_id))


def test_the_table_says_how_a_node_does() -> None:
    told = row(shown(BUSY))
    for cell in ("Raspberry Pi 5", "ready", "3/1", "1\N{NARROW NO-BREAK SPACE}234", "82 %", "3.9/7.9 GiB", "9.0"):
        assert cell in told, told
    assert "84 °C throttled" in told
    assert "llama, minilm" in told


@pytest.mark.parametrize(
    ("about", "state"),
    [
        ({}, "ready"),
        ({"reason": "draining", "in_flight": 2, "queued": 1, "draining": True}, "draining (3 left)"),
        ({"reason": "draining", "draining": True}, "drained"),
        ({"reason": "silent", "age_s": 14.0}, "silent (14 s)"),
        ({"reason": "breaker_open"}, "breaker open"),
        ({"reason": "something_new"}, "something new"),
    ],
)
def test_the_state_is_a_word_or_two(about: dict[str, Any], state: str) -> None:
    assert words.state(listed(**about)) == state
    assert state in row(shown(listed(**about)))


def test_an_estimate_of_power_is_marked_and_a_measurement_is_not() -> None:
    guessed, measured = listed(power_w=8.13), listed(power_w=8.13, power_measured=True)
    assert "≈ 8.1 W" in row(shown(guessed))
    assert "estimated" in shown(guessed)
    assert "≈" not in shown(measured)
    assert "8.1 W" in row(shown(measured))


def test_what_was_not_told_is_a_dash() -> None:
    told = listed(temperature_c=None, power_w=None)
    assert (words.heat(told.telemetry), words.power(told.telemetry), words.speed(told.telemetry)) == ("-", "-", "-")


def test_why_a_node_is_not_chosen_stands_below_the_table() -> None:
    assert "pi-5 failed several requests in a row" in shown(listed(reason="breaker_open"))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_a_narrow_terminal_gets_what_matters_most(width: int) -> None:
    text = shown(BUSY, listed("orin", board="NVIDIA Jetson Orin Nano"), width=width)
    assert max(map(len, text.splitlines()[:3])) <= width
    assert "ready" in row(text)
    assert "orin" in text
    assert ("models" in text) == (width >= 200)


def test_what_a_node_says_can_not_command_the_terminal() -> None:
    assert "\x1b" not in shown(listed(board="\x1b]0;owned\x07"))


def test_everything_of_a_node_is_told() -> None:
    broken = ReplicaBreaker(replica="pi-5-0", model="llama", state="open", failures=3, opens_for_s=1.5)
    gpu = Gpu(name="RTX", utilisation=0.5, vram_total_mib=8192, vram_free_mib=2048, temperature_c=61, power_w=140)
    whole = listed(reason="breaker_open", gpus=(gpu,), adapters=("ada",), degraded=("no-model",), breakers=(broken,))
    told = dict(showing.facts(whole))
    assert "failed several" in told["because"]
    assert told["GPU"] == "RTX, 50 %, 6.0/8.0 GiB, 61 °C, 140.0 W"
    assert (told["adapters"], told["degraded"].startswith("no language model")) == ("ada", True)
    assert showing.replica_rows(whole)[0][4] == "llama open for 1.5 s"
    heat = "84.3 °C, held back: heat; at some time since its start: under-voltage"
    assert dict(showing.facts(BUSY))["heat"] == heat
    assert dict(showing.facts(BUSY))["power"] == "8.1 W, estimated from the board and its load"
    assert showing.model_rows(BUSY)[0][-2:] == ("51.0", "9.0")


def test_the_last_hour_is_drawn() -> None:
    at = tuple(MOMENT + timedelta(seconds=10 * step) for step in range(4))
    past = NodeHistory(every_s=10, at=at, load=(0, 1, 2, 4), queued=(0, 0, 0, 0), temperature_c=(None,) * 4)
    past = past.model_copy(update={"generated_tokens_per_s": (None, 1.0, 2.0, 3.0)})
    rows = {title: rest for title, *rest in showing.history_rows(past, 60)}
    assert rows["load"] == ["0.0", "4.0", "4.0", "▁▃▅█"]
    assert rows["tokens/s"][-1] == " ▁▅█"
    assert "heat °C" not in rows
    assert showing.history_titles(past)[-1] == "the last 40 s"
    assert showing.history_rows(NodeHistory(every_s=10), 60) == []


def test_a_gap_in_time_is_a_gap_in_the_drawing() -> None:
    at = [MOMENT, MOMENT + timedelta(seconds=10), MOMENT + timedelta(seconds=50)]
    assert spread(at, [1, 2, 3], 10, 60) == [1, 2, None, None, None, 3]
    assert spread(at, [1, 2, 3], 10, 3) == [2, None, 3], "each step is the highest in it"
    assert spread([], [], 10, 60) == []
    assert sparkline([5, 5]) == "▁▁"
    assert sparkline([None]) == ""


def test_models_that_nobody_else_serves_are_known_beforehand() -> None:
    nodes = (listed("a", models=[model("x"), model("y")]), listed("b", models=[model("x")]))
    assert only_there("a", nodes) == ("y",)
    silent = listed("b", models=[model("y")], reason="silent")
    assert only_there("a", (nodes[0], silent)) == ("x", "y"), "a node that isn't there serves nothing"


@dataclass
class Cluster:
    """A scheduler that tells of one node what the test says, look by look; the last is told again."""

    bus: Bus
    looks: list[Node] = field(default_factory=list)
    told: list[Left] = field(default_factory=list)
    asked: int = 0

    def look(self) -> Nodes:
        self.asked += 1
        return Nodes(nodes=(self.looks.pop(0) if len(self.looks) > 1 else self.looks[0],))

    async def wait(self, *, timeout_s: float = LIMIT_S, settled_s: float = 0.02) -> float:
        async with asyncio.timeout(LIMIT_S):
            return await draining.wait_until_done(
                self.bus, "pi-5", timeout_s=timeout_s, tell=self.told.append, settled_s=settled_s, look_s=0.005
            )


@asynccontextmanager
async def scheduler(*looks: Node) -> AsyncIterator[Cluster]:
    broker = MemoryBroker()
    serving, bus = [await broker.connect(p) for p in (Principal.SCHEDULER, Principal.CLI)]
    cluster = Cluster(bus, list(looks))

    async def list_nodes(_: Empty) -> Nodes:
        return cluster.look()

    async def drain(request: NodeRef) -> Drained:
        if request.node_id == "off":
            raise NodeSilent("the node does not answer")
        if request.node_id != "pi-5":
            raise NodeNotFound("no such node is known")
        return Drained(node_id=request.node_id, draining=True)

    await serving.serve(LIST_NODES, list_nodes)
    await serving.serve(DRAIN, drain)
    await serving.serve(UNDRAIN, drain)
    try:
        yield cluster
    finally:
        for one in (bus, serving):
            await one.drain(1.0)


def left(requests: int, queued: int = 0) -> Node:
    return listed(reason="draining", draining=True, in_flight=requests, queued=queued)


async def check_the_wait(wait: Any) -> None:
    async with scheduler(left(2, 1), left(1), left(0)) as cluster:
        await wait(cluster)
        assert [one.requests for one in cluster.told[:3]] == [3, 1, 0]


async def test_a_drain_ends_when_nothing_is_left() -> None:
    await check_the_wait(Cluster.wait)


async def test_of_the_test__a_wait_that_ends_at_once_is_noticed() -> None:
    async def hasty(cluster: Cluster) -> None:
        cluster.told.append(Left(2, 1, 0))

    with pytest.raises(AssertionError):
        await check_the_wait(hasty)


async def test_a_request_that_was_on_its_way_is_waited_for() -> None:
    async with scheduler(left(0), left(1), left(1), left(0)) as cluster:
        await cluster.wait()
        assert [one.requests for one in cluster.told[:4]] == [0, 1, 1, 0]
        assert cluster.told[-1].requests == 0


async def test_when_the_time_is_over_the_command_says_what_is_left_and_what_to_do() -> None:
    async with scheduler(left(2)) as cluster:
        with pytest.raises(CommandError, match=r"after 0\.05 s pi-5 still has 2 requests") as refused:
            await cluster.wait(timeout_s=0.05)
    assert refused.value.code is Exit.NOT_READY
    assert "undrain pi-5" in refused.value.remedy


@pytest.mark.parametrize(
    ("then", "problem"),
    [(listed(reason="silent", draining=True, in_flight=2), "went silent with 2"), (listed(), "takes requests again")],
)
async def test_a_node_that_goes_or_comes_back_meanwhile_ends_the_wait(then: Node, problem: str) -> None:
    async with scheduler(left(2), then) as cluster:
        with pytest.raises(CommandError, match=problem):
            await cluster.wait()


@pytest.mark.parametrize(("node_id", "problem"), [("ghost", "there is no node ghost"), ("off", "off does not answer")])
async def test_a_node_that_can_not_be_drained_is_told_with_a_remedy(node_id: str, problem: str) -> None:
    async with scheduler(listed()) as cluster:
        with pytest.raises(CommandError, match=problem) as refused:
            await draining.set_draining(cluster.bus, node_id, draining=True)
        assert (refused.value.code, "mongars nodes" in refused.value.remedy) == (Exit.REFUSED, True)


async def test_the_live_table_follows_and_says_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.nodes.watching.EVERY_S", 0.005)
    console = Console(file=StringIO(), width=200, force_terminal=True)
    assert isinstance(console.file, StringIO)
    async with scheduler(listed(), left(1), left(0)) as cluster:
        watching = asyncio.ensure_future(watch(cluster.bus, console))
        async with asyncio.timeout(LIMIT_S):
            while "drained" not in console.file.getvalue():  # noqa: ASYNC110 - what a person would see
                await asyncio.sleep(0.005)
        cluster.looks.clear()  # from now on the scheduler fails
        async with asyncio.timeout(LIMIT_S):
            while "does not answer" not in console.file.getvalue():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert "draining (1 left)" in console.file.getvalue()


def test_every_column_has_a_rank_so_that_the_two_that_matter_stay() -> None:
    assert [c.title for c in table.COLUMNS if c.rank == 0] == ["node", "state"]


CONSIDERED = (
    Considered(node_id="orin", replica="orin-0", reason="taken", expected_first_s=0.5, expected_s=3.04),
    Considered(node_id="pi-4", replica="pi-4-0", reason="draining"),
    Considered(node_id="pi-5", reason="not_serving"),
)


def test_where_a_request_would_run_is_said_with_a_reason_for_every_other_node() -> None:
    told = Explanation(model="llama", policy="expected_completion", node_id="orin", considered=CONSIDERED)
    said = explaining.headline(told, 500, 256)
    assert said == "llama, 500 tokens to read and at most 256 to write: now on orin (policy expected_completion)"
    assert explaining.rows(told) == [
        ("orin", "orin-0", "0.5 s", "3.0 s", "taken: it costs everybody the least"),
        ("pi-4", "pi-4-0", "-", "-", "it is being drained (mongars nodes undrain NODE ends that)"),
        ("pi-5", "-", "-", "-", "it does not have the model"),
    ]


def test_an_adapter_that_is_loaded_first_is_said_to_be_and_so_is_where_there_is_none() -> None:
    considered = (
        Considered(node_id="a", replica="a-0", reason="taken", expected_first_s=4.5, expected_s=7.0, loading_s=4.0),
        Considered(node_id="b", replica="b-0", reason="adapter_not_here"),
    )
    told = Explanation(model="llama:ada", policy="expected_completion", node_id="a", considered=considered)
    assert explaining.rows(told) == [
        ("a", "a-0", "4.5 s", "7.0 s", "taken: it costs everybody the least; the adapter is loaded first, 4.0 s"),
        ("b", "b-0", "-", "-", "it does not have the adapter for this model"),
    ]


def test_where_work_in_the_background_would_run_is_said_with_what_holds_each_node_back() -> None:
    considered = (
        Considered(node_id="orin", replica="orin-0", reason="taken"),
        Considered(node_id="pi-4", replica="pi-4-0", reason="hot"),
        Considered(node_id="pi-5", reason="not_serving"),
    )
    told = Explanation(model="minilm", policy="background", node_id="orin", considered=considered)
    assert explaining.room_headline(told, "embed", 0) == "minilm, vectors in the background: now on orin"
    assert explaining.room_rows(told) == [
        ("orin", "orin-0", "taken: it has room"),
        ("pi-4", "pi-4-0", "the machine is hot; it is spared for ten minutes"),
        ("pi-5", "-", "it does not have the model"),
    ]


def test_work_without_room_is_said_to_wait_and_what_no_node_may_take_to_be_refused() -> None:
    waits = Refused(code="no_room", detail="no node has room for it at the moment", retry_after_s=10.0)
    told = Explanation(model="llama", policy="background", node_id=None, refused=waits)
    assert explaining.room_headline(told, "chat", 90.0) == (
        "llama, reading by a language model in the background that has waited for 90 s: now waits, no_room: no node "
        "has room for it at the moment; again in 10 s"
    )
    refused = told.model_copy(update={"refused": Refused(code="no_node", detail="none can take it")})
    assert "now refused, no_node" in explaining.room_headline(refused, "chat", 0)


def test_a_refusal_is_said_with_the_time_to_come_back() -> None:
    refused = Refused(code="overloaded", detail="every node is busy", retry_after_s=4.0)
    told = Explanation(model=None, policy="expected_completion", node_id=None, refused=refused)
    said = explaining.headline(told, 500, 256)
    assert said.startswith("the default model, ")
    assert said.endswith("now refused, overloaded: every node is busy; again in 4.0 s")
