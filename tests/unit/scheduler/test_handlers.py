"""The scheduler on the bus: placements, listings, draining, and the moment after a start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic

import pytest

from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.inference import SET_DRAINING, SetDraining
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import (
    DRAIN,
    EXPLAIN_JOB,
    EXPLAIN_PLACEMENT,
    LIST_MODELS,
    LIST_NODES,
    NODE_HISTORY,
    OUTCOME,
    PLACE,
    PLACE_JOB,
    PLACED,
    UNDRAIN,
    Drained,
    NodeRef,
    Outcome,
    Placed,
    PlaceJob,
    PlaceRequest,
    ReadHistory,
)
from libs.shared.contracts.telemetry import NODE, Rates, Replica
from libs.shared.errors import ModelNotFound, NodeNotFound, NodeSilent, NoModel, NoNode
from services.scheduler import handlers, placement
from services.scheduler.background import REQUESTS_S
from services.scheduler.handlers import Grace, Scheduling
from services.scheduler.registry import Registry, RegistryRules
from services.scheduler.service import serve
from tests.unit.scheduler.clusters import model, node

LIMIT_S = 5


@dataclass
class Cluster:
    """The scheduler under test, and the buses around it."""

    scheduling: Scheduling
    cognition: Bus
    inference: Bus
    api: Bus
    settings: dict[str, object] = field(default_factory=dict)

    async def heard(self, *node_ids: str) -> None:
        """Has the nodes speak, and waits until the scheduler heard them."""
        for node_id in node_ids:
            await self.inference.broadcast(NODE, node(node_id))
        await until(lambda: set(node_ids) <= set(self.scheduling.registry.snapshot().nodes))


async def until(true: object) -> None:
    """Lets the loop run until a condition holds."""
    assert callable(true)
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110 - yields to the bus, waits for no time
            await asyncio.sleep(0)


async def start(stack: AsyncExitStack, grace_s: float) -> Cluster:
    broker = MemoryBroker()
    buses = {
        p: await broker.connect(p)
        for p in (Principal.SCHEDULER, Principal.COGNITION, Principal.INFERENCE, Principal.API)
    }
    for bus in buses.values():
        stack.push_async_callback(bus.drain, 1.0)
    chosen: dict[str, object] = {}
    scheduling = Scheduling(
        buses[Principal.SCHEDULER],
        Registry(RegistryRules(), monotonic),
        Grace(grace_s, monotonic),
        lambda: RuntimeSettings.model_validate(chosen),
        monotonic,
    )
    await serve(buses[Principal.SCHEDULER], scheduling)
    return Cluster(scheduling, buses[Principal.COGNITION], buses[Principal.INFERENCE], buses[Principal.API], chosen)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield await start(stack, 0.0)


@pytest.fixture
async def starting() -> AsyncIterator[Cluster]:
    """A scheduler that has just started, and waits as long as the test runs for its first telemetry."""
    async with AsyncExitStack() as stack:
        yield await start(stack, LIMIT_S)


async def test_a_request_is_placed_on_a_node_that_spoke(cluster: Cluster) -> None:
    await cluster.heard("a")
    placed = await cluster.cognition.request(PLACE, PlaceRequest())
    assert (placed.node_id, placed.replica, placed.model.name) == ("a", "a-0", "llama")
    assert placed.policy == "expected_completion"
    assert placed.ticket is not None
    assert placed.expected_s is not None
    assert placed.expected_first_s is not None
    assert placed.expected_first_s <= placed.expected_s


async def test_the_reply_counts_the_reasons(cluster: Cluster) -> None:
    await cluster.heard("a", "b", "c")
    placed = await cluster.cognition.request(PLACE, PlaceRequest(exclude=("a-0",)))
    assert placed.rejected == {"excluded": 1, "later_completion": 1}


async def test_an_explanation_places_nothing(cluster: Cluster) -> None:
    await cluster.heard("a", "b")
    for _ in range(3):
        told = await cluster.api.request(EXPLAIN_PLACEMENT, PlaceRequest())
    assert told.node_id in ("a", "b")
    assert {c.reason for c in told.considered} == {"taken", "later_completion"}
    candidates = cluster.scheduling.registry.snapshot().candidates["llama"]
    assert [(c.load, len(c.queue.under_way.requests)) for c in candidates] == [(0, 0), (0, 0)]
    placed = await cluster.cognition.request(PLACE, PlaceRequest())
    assert placed.ticket is not None
    assert placed.ticket.number == 1


async def test_an_explanation_does_not_wait_for_nodes_that_may_still_speak(starting: Cluster) -> None:
    told = await starting.api.request(EXPLAIN_PLACEMENT, PlaceRequest())
    assert told.refused is not None
    assert told.refused.code == "no_model"


async def test_placements_spread_before_any_telemetry_shows_them(cluster: Cluster) -> None:
    await cluster.heard("a", "b")
    placed = [(await cluster.cognition.request(PLACE, PlaceRequest())).node_id for _ in range(10)]
    assert placed.count("a") == placed.count("b") == 5


async def test_the_policy_in_the_settings_is_used(cluster: Cluster) -> None:
    await cluster.heard("a")
    cluster.settings["placement_policy"] = "expected_completion"
    assert (await cluster.cognition.request(PLACE, PlaceRequest())).policy == "expected_completion"


async def test_a_role_s_adapter_is_placed_told_to_the_other_schedulers_and_promoted_by_the_setting(
    cluster: Cluster,
) -> None:
    told: list[Placed] = []

    async def hear(placed: Placed) -> None:
        told.append(placed)

    await cluster.scheduling.bus.subscribe(PLACED, hear)
    await cluster.heard("a")
    await cluster.inference.broadcast(NODE, node("a", sequence=2, models=[model(adapters=("ada",))]))
    await until(lambda: cluster.scheduling.registry.snapshot().nodes["a"].models["llama"].adapters)
    for setting, adapter in ((None, None), ("llama:ada", "ada"), ("llama", None)):
        cluster.settings["default_model"] = setting
        placed = await cluster.cognition.request(PLACE, PlaceRequest(adapts=True))
        assert (placed.model.name, placed.adapter) == ("llama", adapter)
    await until(lambda: len(told) == 3)
    assert [one.adapter for one in told] == [None, "ada", None]


async def test_refusals_cross_the_wire_as_what_they_are(cluster: Cluster) -> None:
    with pytest.raises(NoModel):
        await cluster.cognition.request(PLACE, PlaceRequest())
    with pytest.raises(ModelNotFound):
        await cluster.cognition.request(PLACE, PlaceRequest(model="gpt-9"))
    await cluster.heard("a")
    with pytest.raises(NoNode) as refusal:
        await cluster.cognition.request(PLACE, PlaceRequest(exclude=("a-0",)))
    assert refusal.value.data["retry_after_s"] > 0


async def test_reported_failures_open_the_breaker(cluster: Cluster) -> None:
    await cluster.heard("a")
    for _ in range(3):
        await cluster.cognition.broadcast(
            OUTCOME, Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="error")
        )
    await until(lambda: cluster.scheduling.registry.snapshot().breakers)
    with pytest.raises(NoNode, match="breaker_open"):
        await cluster.cognition.request(PLACE, PlaceRequest())


async def test_just_after_a_start_a_request_waits_for_the_first_telemetry(starting: Cluster) -> None:
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        placing = group.create_task(starting.cognition.request(PLACE, PlaceRequest()))
        await asyncio.sleep(0)
        await starting.inference.broadcast(NODE, node("a"))
    assert placing.result().node_id == "a"


async def test_a_named_model_is_waited_for_past_the_first_node(starting: Cluster) -> None:
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        placing = group.create_task(starting.cognition.request(PLACE, PlaceRequest(model="qwen")))
        await starting.heard("a")
        await starting.inference.broadcast(
            NODE, node("b", models=[node("b").models[0].model_copy(update={"name": "qwen"})])
        )
    assert placing.result().node_id == "b"


async def test_the_wait_ends() -> None:
    async with AsyncExitStack() as stack:
        cluster = await start(stack, 0.05)
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(NoModel):
                await cluster.cognition.request(PLACE, PlaceRequest())


async def test_draining_asks_the_node_and_takes_effect_at_once(cluster: Cluster) -> None:
    asked: list[bool] = []

    async def set_draining(request: SetDraining) -> Drained:
        asked.append(request.draining)
        return Drained(node_id="a", draining=request.draining)

    await cluster.inference.serve(SET_DRAINING, set_draining, node="a")
    await cluster.heard("a")
    assert (await cluster.api.request(DRAIN, NodeRef(node_id="a"))).draining
    with pytest.raises(NoNode, match="draining"):
        await cluster.cognition.request(PLACE, PlaceRequest())
    (listed,) = (await cluster.api.request(LIST_NODES, Empty())).nodes
    assert (listed.available, listed.reason) == (False, "draining")
    assert not (await cluster.api.request(UNDRAIN, NodeRef(node_id="a"))).draining
    assert (await cluster.cognition.request(PLACE, PlaceRequest())).node_id == "a"
    assert asked == [True, False]


async def test_a_node_that_was_taken_out_is_listed_no_more_and_has_no_past(cluster: Cluster) -> None:
    await cluster.heard("a", "b")
    assert (await cluster.scheduling.forget(NodeRef(node_id="a"))).known
    assert not (await cluster.scheduling.forget(NodeRef(node_id="a"))).known
    (left,) = (await cluster.api.request(LIST_NODES, Empty())).nodes
    assert left.telemetry.node_id == "b"
    assert (await cluster.api.request(NODE_HISTORY, ReadHistory())).nodes.keys() == {"b"}


async def test_an_unknown_node_can_not_be_drained(cluster: Cluster) -> None:
    with pytest.raises(NodeNotFound):
        await cluster.api.request(DRAIN, NodeRef(node_id="ghost"))


async def test_a_node_that_does_not_answer_is_told_from_one_that_nobody_knows(cluster: Cluster) -> None:
    await cluster.heard("a")
    with pytest.raises(NodeSilent):
        await cluster.api.request(DRAIN, NodeRef(node_id="a"))


def test_whoever_drains_waits_longer_than_the_scheduler_waits_for_the_node() -> None:
    assert SET_DRAINING.timeout_s < min(DRAIN.timeout_s, UNDRAIN.timeout_s), "else nobody hears that the node is silent"


async def test_the_past_is_read_of_one_node_or_of_all(cluster: Cluster) -> None:
    await cluster.heard("a", "b")
    every = await cluster.api.request(NODE_HISTORY, ReadHistory())
    assert {node_id: len(past.at) for node_id, past in every.nodes.items()} == {"a": 1, "b": 1}
    assert (await cluster.api.request(NODE_HISTORY, ReadHistory(node_id="b"))).nodes.keys() == {"b"}
    assert not (await cluster.api.request(NODE_HISTORY, ReadHistory(node_id="ghost"))).nodes


async def test_the_past_of_many_nodes_is_bounded_in_one_answer(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "MOST_TOLD", 4)
    await cluster.heard("a", "b")
    for node_id in ("a", "b"):
        for moment in range(1, 9):
            cluster.scheduling.history.note(node(node_id), monotonic() + moment * 10)
    every = await cluster.api.request(NODE_HISTORY, ReadHistory())
    assert [len(past.at) for past in every.nodes.values()] == [2, 2]
    assert len((await cluster.api.request(NODE_HISTORY, ReadHistory(node_id="a"))).nodes["a"].at) == 4


async def test_a_listed_node_names_the_breakers_that_are_not_closed(cluster: Cluster) -> None:
    await cluster.heard("a", "b")
    for _ in range(3):
        failed = Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="error")
        await cluster.cognition.broadcast(OUTCOME, failed)
    await until(lambda: any(b.open_until for b in cluster.scheduling.registry.snapshot().breakers.values()))
    broken, well = (await cluster.api.request(LIST_NODES, Empty())).nodes
    assert [(b.replica, b.model, b.state, b.failures) for b in broken.breakers] == [("a-0", "llama", "open", 3)]
    assert 0 < broken.breakers[0].opens_for_s <= 2
    assert well.breakers == ()


async def test_models_are_listed_with_their_default(cluster: Cluster) -> None:
    assert (await cluster.api.request(LIST_MODELS, Empty())).default_chat is None
    await cluster.heard("a")
    listed = await cluster.api.request(LIST_MODELS, Empty())
    assert ([m.name for m in listed.models], listed.default_chat) == (["llama"], "llama")


async def test_a_job_is_told_where_there_is_room_and_counts_as_no_request(cluster: Cluster) -> None:
    await cluster.heard("a")
    for _ in range(3):
        found = await cluster.cognition.request(PLACE_JOB, PlaceJob(kind="chat"))
        assert found.placement is not None
        assert (found.placement.replica, found.placement.policy) == ("a-0", "background")


async def test_an_explained_job_is_decided_as_it_would_be_placed(cluster: Cluster) -> None:
    nobody = await cluster.api.request(EXPLAIN_JOB, PlaceJob(kind="chat"))
    assert nobody.refused is not None
    assert nobody.refused.code == "no_model"
    await cluster.heard("a")
    free = await cluster.api.request(EXPLAIN_JOB, PlaceJob(kind="chat"))
    assert (free.node_id, free.policy) == ("a", "background")
    await cluster.cognition.request(PLACE, PlaceRequest())
    held = await cluster.api.request(EXPLAIN_JOB, PlaceJob(kind="chat"))
    assert held.refused is not None
    assert (held.refused.code, [c.reason for c in held.considered]) == ("no_room", ["recent_request"])
    assert (await cluster.api.request(EXPLAIN_JOB, PlaceJob(kind="chat", waited_s=REQUESTS_S))).node_id == "a"


async def test_a_job_waits_where_a_request_was_just_placed(cluster: Cluster) -> None:
    await cluster.heard("a")
    await cluster.cognition.request(PLACE, PlaceRequest())
    found = await cluster.cognition.request(PLACE_JOB, PlaceJob(kind="chat"))
    assert (found.placement, found.reasons) == (None, {"recent_request": 1})
    assert found.retry_after_s > 0
    overdue = await cluster.cognition.request(PLACE_JOB, PlaceJob(kind="chat", waited_s=REQUESTS_S))
    assert overdue.placement is not None


async def test_a_job_that_could_not_be_placed_as_a_request_is_refused_alike(cluster: Cluster) -> None:
    with pytest.raises(NoModel):
        await cluster.cognition.request(PLACE_JOB, PlaceJob(kind="chat"))
    with pytest.raises(ModelNotFound):
        await cluster.cognition.request(PLACE_JOB, PlaceJob(model="gpt-9"))
    await cluster.heard("a")
    with pytest.raises(NoNode):
        await cluster.cognition.request(PLACE_JOB, PlaceJob(kind="chat", exclude=("a-0",)))


async def check_the_weight_of_others_is_obeyed_at_once(cluster: Cluster) -> None:
    """A fast node that is busy, or a slow one that isn't: the setting decides, with the next request."""
    fast = Rates(prompt_tokens_per_s=1000.0, generated_tokens_per_s=100.0, answer_tokens=100.0)
    slow = Rates(prompt_tokens_per_s=40.0, generated_tokens_per_s=5.0, answer_tokens=100.0)
    busy = Replica(replica="fast-0", models=("llama",), in_flight=1, to_read_tokens=0, to_write_tokens=1500)
    await cluster.inference.broadcast(NODE, node("fast", models=[model(rates=fast)], replicas=(busy,)))
    await cluster.inference.broadcast(NODE, node("slow", models=[model(rates=slow)]))
    await until(lambda: len(cluster.scheduling.registry.snapshot().nodes) == 2)
    taken = {}
    for others in (0.0, 10.0, 0.0):
        cluster.settings["placement_others"] = others
        told = await cluster.api.request(EXPLAIN_PLACEMENT, PlaceRequest(prompt_tokens=200))
        taken[others] = told.node_id
    assert taken == {0.0: "fast", 10.0: "slow"}


async def test_the_weight_of_others_is_obeyed_at_once(cluster: Cluster) -> None:
    await check_the_weight_of_others_is_obeyed_at_once(cluster)


async def test_the_check_notices_that_the_weight_is_ignored(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = placement.choose
    monkeypatch.setattr(handlers, "choose", lambda *given, others, **named: honest(*given, **named))
    with pytest.raises(AssertionError):
        await check_the_weight_of_others_is_obeyed_at_once(cluster)


async def test_what_was_placed_is_kept_for_a_replay(cluster: Cluster) -> None:
    await cluster.heard("a")
    placed = await cluster.cognition.request(PLACE, PlaceRequest(prompt_tokens=50))
    ended = Outcome(
        node_id="a", replica="a-0", model="llama", ok=True, writing_s=1.0, completion_tokens=7, ticket=placed.ticket
    )
    await cluster.cognition.broadcast(OUTCOME, ended)
    await until(lambda: [one.answer_tokens for one in cluster.scheduling.trace.arrivals] == [7.0])
    assert cluster.scheduling.trace.arrivals[0].prompt_tokens == 50
