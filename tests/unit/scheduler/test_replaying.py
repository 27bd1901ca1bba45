"""Requests of late are replayed by the scheduler's own code, as numbers, in a process that makes way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.background.process import HeldProcess
from libs.shared.contracts.replaying_placements import PlacementsReplayed, ReplayPlacements, Way
from libs.shared.contracts.scheduling import Outcome, PlaceRequest
from libs.shared.contracts.telemetry import Rates
from services.scheduler.policies import POLICIES
from services.scheduler.registry import Registry
from services.scheduler.replaying import replaying, trace
from services.scheduler.replaying.blocks import BLOCK, in_blocks
from services.scheduler.replaying.exchange import Arrival, Replayed, ReplayJob, Server
from services.scheduler.replaying.replaying import PlacementReplayer
from services.scheduler.replaying.simulating import replayed
from services.scheduler.replaying.trace import Trace, server_of
from tests.unit.scheduler.clusters import Clock, model, node, registry

BY_END = Way(policy="expected_completion", others=1.0)
GREEDY = Way(policy="expected_completion", others=0.0)
BY_QUEUE = Way(policy="least_in_flight", others=1.0)


def server(name: str, s_per_answer_token: float = 0.1, *, slots: int = 1, caches: bool = False) -> Server:
    return Server(
        replica=f"{name}-0",
        node=name,
        model="llama",
        slots=slots,
        s_per_prompt_token=s_per_answer_token / 10,
        s_per_answer_token=s_per_answer_token,
        answer_tokens=100.0,
        caches_prefix=caches,
    )


def arrival(at: float, prompt_tokens: int = 100, answer_tokens: float | None = 100.0, session: str = "") -> Arrival:
    return Arrival(
        at=at,
        model="llama",
        prompt_tokens=prompt_tokens,
        max_tokens=256,
        answer_tokens=answer_tokens,
        session=session,
    )


def seconds(servers: list[Server], arrivals: list[Arrival], way: Way = BY_END) -> list[float | None]:
    job = ReplayJob(arrivals=tuple(arrivals), servers=tuple(servers), ways=(way,))
    return list(replayed(job).seconds[0])


def test_one_server_works_on_them_one_after_another() -> None:
    assert seconds([server("a")], [arrival(0.0), arrival(0.0), arrival(100.0)]) == pytest.approx([11.0, 22.0, 11.0])
    assert seconds([server("a", slots=2)], [arrival(0.0), arrival(0.0)]) == pytest.approx([11.0, 11.0])


def test_a_session_reads_only_what_is_new_where_it_was_read_before() -> None:
    told = [arrival(0.0, 1000, session="s"), arrival(50.0, 1200, session="s")]
    assert seconds([server("a", caches=True)], told) == pytest.approx([20.0, 10.0 + 1.0])
    assert seconds([server("a")], told) == pytest.approx([20.0, 22.0])


def test_what_nobody_has_is_left_out() -> None:
    other = arrival(0.0).model_copy(update={"model": "gone"})
    assert seconds([server("a")], [other, arrival(1.0)]) == [None, pytest.approx(11.0)]


@given(
    st.lists(st.tuples(st.floats(0, 50), st.integers(0, 300), st.integers(1, 200)), max_size=30),
    st.sampled_from([BY_END, GREEDY, BY_QUEUE]),
)
def test_each_is_worked_on_once_and_none_faster_than_its_work(given: list[tuple[float, int, int]], way: Way) -> None:
    servers = [server("fast", 0.01), server("slow", 0.1, slots=2)]
    arrivals = [arrival(at, prompt, float(answer)) for at, prompt, answer in sorted(given)]
    found = seconds(servers, arrivals, way)
    assert len(found) == len(arrivals)
    for one, took in zip(arrivals, found, strict=True):
        assert took is not None
        assert took >= 0.01 * (one.prompt_tokens / 10 + (one.answer_tokens or 0.0)) - 1e-9
    whole = sum(0.1 * (one.prompt_tokens / 10 + (one.answer_tokens or 0.0)) for one in arrivals)
    assert all(took is not None and took <= whole + 1e-6 for took in found)


def check_queues_alone_are_worse_on_unequal_nodes() -> None:
    servers = [server("fast", 0.01), server("slow", 0.5)]
    arrivals = [arrival(1.5 * n) for n in range(BLOCK * 10)]
    job = ReplayJob(arrivals=tuple(arrivals), servers=tuple(servers), ways=(BY_END, BY_QUEUE))
    told = in_blocks(replayed(job), 2)
    by_end, by_queue = told.ways
    assert told.requests == (BLOCK,) * 10
    assert sum(by_queue.total_s) > 2 * sum(by_end.total_s)
    assert sum(by_queue.late) > sum(by_end.late)


def test_queues_alone_are_worse_on_unequal_nodes() -> None:
    check_queues_alone_are_worse_on_unequal_nodes()


def test_the_check_notices_that_the_way_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "least_in_flight", POLICIES["expected_completion"])
    with pytest.raises(AssertionError):
        check_queues_alone_are_worse_on_unequal_nodes()


def test_a_block_that_is_not_full_says_nothing() -> None:
    told = in_blocks(Replayed(seconds=((1.0,) * (BLOCK - 1),)), 2)
    assert (told.requests, told.ways, told.reason) == ((), (), "too few requests came")


def traced(known: Registry, kept: Trace, request: PlaceRequest, at: float = 5.0) -> Outcome:
    """Placed on the first candidate; its end is to be told."""
    candidate = known.snapshot().candidates["llama"][0]
    placed = known.dispatched(candidate, request)
    kept.placed(request, placed, at)
    return Outcome(
        node_id="a", replica="a-0", model="llama", ok=True, completion_tokens=33, writing_s=1.0, ticket=placed.ticket
    )


def test_what_was_asked_is_kept_as_numbers_of_nobody() -> None:
    known, kept = registry(node("a")), Trace()
    request = PlaceRequest(prompt_tokens=120, max_tokens=64, session="conversation-of-somebody")
    kept.ended(traced(known, kept, request))
    (one,) = kept.arrivals
    assert (one.at, one.model, one.prompt_tokens, one.max_tokens, one.answer_tokens) == (5.0, "llama", 120, 64, 33.0)
    assert one.session
    assert "somebody" not in repr(vars(kept))
    other = Trace()
    traced(known, other, request)
    assert other.arrivals[0].session != one.session, "each process has a salt of its own"


def test_second_tries_and_embeddings_are_no_requests_of_their_own() -> None:
    known, kept = registry(node("a")), Trace()
    for request in (
        PlaceRequest(kind="embed"),
        PlaceRequest(exclude=("b-0",)),
        PlaceRequest(first_within_s=2.0),
    ):
        traced(known, kept, request)
    assert kept.arrivals == ()


def test_the_trace_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MOST_REQUESTS", 3)
    known, kept = registry(node("a")), Trace()
    for number in range(10):
        traced(known, kept, PlaceRequest(prompt_tokens=number))
    assert [one.prompt_tokens for one in kept.arrivals] == [7, 8, 9]


def fleet() -> Registry:
    fast = Rates(prompt_tokens_per_s=1000.0, generated_tokens_per_s=100.0, answer_tokens=100.0)
    slow = Rates(prompt_tokens_per_s=50.0, generated_tokens_per_s=5.0, answer_tokens=100.0)
    return registry(node("a", models=[model(rates=fast)]), node("b", models=[model(rates=slow)]), clock=Clock())


def asked(known: Registry, count: int) -> Trace:
    kept = Trace()
    for number in range(count):
        kept.ended(traced(known, kept, PlaceRequest(prompt_tokens=300), at=float(number)))
    return kept


async def test_a_replay_runs_in_a_process_of_its_own() -> None:
    known = fleet()
    servers = [server_of(one) for one in known.snapshot().candidates["llama"]]
    assert [(one.node, one.s_per_answer_token) for one in servers] == [("a", 0.01), ("b", 0.2)]
    told = await PlacementReplayer(known, asked(known, 100)).replay(ReplayPlacements(ways=(BY_END, BY_QUEUE)))
    assert (told.nodes, len(told.requests), len(told.ways)) == (2, 100 // BLOCK, 2)
    assert sum(told.ways[1].total_s) > sum(told.ways[0].total_s)


async def test_one_node_leaves_nothing_to_choose() -> None:
    known = registry(node("a"))
    told = await PlacementReplayer(known, asked(known, 100)).replay(ReplayPlacements(ways=(BY_END,)))
    assert (told.ways, told.nodes) == ((), 1)
    assert "one node" in told.reason


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.005)


def stopped(pid: int) -> bool:
    """Whether the kernel gives it no processor."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def check_it_stands_still_while_requests_are_placed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replaying, "QUIET_S", 0.2)
    known = fleet()
    replayer = PlacementReplayer(known, asked(known, 200))
    replay = asyncio.create_task(replayer.replay(ReplayPlacements(ways=(BY_END,) * 8)))
    try:
        await until(lambda: replayer._process is not None)
        assert replayer._process is not None
        pid = replayer._process.pid
        replayer.make_way()
        async with asyncio.timeout(2):
            while not stopped(pid):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.005)
        told: PlacementsReplayed = await asyncio.wait_for(replay, 30)
        assert len(told.ways) == 8, "it goes on once it was quiet"
    except (TimeoutError, FileNotFoundError):
        raise AssertionError("it ran on while a request was placed") from None
    finally:
        replay.cancel()
        await asyncio.gather(replay, return_exceptions=True)


async def test_it_stands_still_while_requests_are_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_it_stands_still_while_requests_are_placed(monkeypatch)


async def test_the_check_notices_that_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldProcess, "pause", lambda self: None)
    with pytest.raises(AssertionError):
        await check_it_stands_still_while_requests_are_placed(monkeypatch)


async def test_nothing_is_left_of_one_that_is_given_up() -> None:
    known = fleet()
    replayer = PlacementReplayer(known, asked(known, 200))
    replay = asyncio.create_task(replayer.replay(ReplayPlacements(ways=(BY_END,) * 32)))
    await until(lambda: replayer._process is not None)
    assert replayer._process is not None
    pid = replayer._process.pid
    replay.cancel()
    await asyncio.gather(replay, return_exceptions=True)
    assert gone(pid)
    await replayer.close()
