"""Requests and broadcasts, on NATS and in memory."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from libs.shared.contracts.base import KIB, Message, Principal
from libs.shared.contracts.inference import EMBED, EmbedRequest
from libs.shared.contracts.scheduling import OUTCOME, PLACE, Outcome, Placement, PlaceRequest
from libs.shared.errors import Internal, InvalidRequest, NoNode, Overloaded, TimedOut, TooLarge, Unavailable
from tests.contract.conftest import Connect
from tests.support.conversations import altered, echo, placement

PATIENCE_S = 5


class Loose(Message):
    """A request whose fields the contract does not allow."""

    model: int = 0
    kind: str = "secret words of a person"


async def test_a_request_is_answered(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    await server.serve(PLACE, echo)
    assert (await caller.request(PLACE, PlaceRequest(model="m1"))).policy == "m1"


async def test_a_refusal_crosses_with_its_code_detail_and_data(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)

    async def refuse(request: PlaceRequest) -> Placement:
        raise NoNode("all are busy", retry_after_s=3)

    await server.serve(PLACE, refuse)
    with pytest.raises(NoNode) as refused:
        await caller.request(PLACE, PlaceRequest())
    assert (refused.value.detail, refused.value.data, refused.value.status) == (
        "all are busy",
        {"retry_after_s": 3},
        503,
    )


async def test_a_fault_is_told_as_internal_without_its_words(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)

    async def fail(request: PlaceRequest) -> Placement:
        raise RuntimeError("the password is hunter2")

    await server.serve(PLACE, fail)
    with pytest.raises(Internal) as refused:
        await caller.request(PLACE, PlaceRequest())
    assert "hunter2" not in repr(refused.value) + repr(refused.value.data)


async def test_what_breaks_the_contract_is_refused_by_field_and_never_repeated(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    await server.serve(PLACE, echo)
    with pytest.raises(InvalidRequest) as refused:
        await caller.request(altered(PLACE, request=Loose), Loose())
    assert {error["field"] for error in refused.value.data["errors"]} == {"model", "kind"}
    assert "secret" not in repr(refused.value.data)


async def test_an_answer_that_breaks_its_contract_is_the_servers_fault(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)

    async def answer(request: PlaceRequest) -> Loose:
        return Loose()

    await server.serve(altered(PLACE, reply=Loose), answer)
    with pytest.raises(Internal):
        await caller.request(PLACE, PlaceRequest())


async def test_nobody_there_is_said_at_once(connect: Connect) -> None:
    caller = await connect(Principal.COGNITION)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unavailable):
            await caller.request(PLACE, PlaceRequest(), timeout_s=60)


async def test_a_late_answer_is_not_waited_for(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    finished = asyncio.Event()

    async def late(request: PlaceRequest) -> Placement:
        await finished.wait()
        return placement()

    await server.serve(PLACE, late)
    with pytest.raises(TimedOut):
        await caller.request(PLACE, PlaceRequest(), timeout_s=0.05)
    finished.set()


async def test_requests_of_one_subject_run_at_the_same_time(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    together = asyncio.Barrier(8)

    async def meet(request: PlaceRequest) -> Placement:
        await together.wait()
        return placement()

    await server.serve(PLACE, meet)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(caller.request(PLACE, PlaceRequest()) for _ in range(8)))


async def test_more_than_the_queue_holds_is_refused(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    server._width, server._backlog = 1, 1
    go_on = asyncio.Event()

    async def slow(request: PlaceRequest) -> Placement:
        await go_on.wait()
        return placement()

    await server.serve(PLACE, slow)
    async with asyncio.timeout(PATIENCE_S):
        asked = [asyncio.create_task(caller.request(PLACE, PlaceRequest())) for _ in range(3)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert [type(task.exception()) for task in done] == [Overloaded]
        go_on.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(a, Placement) for a in answers) == 2


async def test_instances_share_the_work_and_answer_once(connect: Connect) -> None:
    servers = [await connect(Principal.SCHEDULER) for _ in range(2)]
    caller = await connect(Principal.COGNITION)
    served: list[int] = []
    for number, server in enumerate(servers):

        async def answer(request: PlaceRequest, number: int = number) -> Placement:
            served.append(number)
            return placement()

        await server.serve(PLACE, answer)
    for _ in range(40):
        await caller.request(PLACE, PlaceRequest())
    assert len(served) == 40
    assert set(served) == {0, 1}


@pytest.mark.parametrize("size", [512 * KIB - 200, 512 * KIB, 900 * KIB])
async def test_large_bodies_cross_in_both_directions(connect: Connect, size: int) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    await server.serve(PLACE, echo)
    text = "".join(chr(97 + i % 26) for i in range(size))
    assert (await caller.request(PLACE, PlaceRequest(model=text))).policy == text


async def test_many_large_bodies_at_once_do_not_mix(connect: Connect) -> None:
    server, caller = await connect(Principal.INFERENCE), await connect(Principal.COGNITION)
    contract = altered(EMBED, reply=EmbedRequest)

    async def mirror(request: EmbedRequest) -> EmbedRequest:
        return request

    await server.serve(contract, mirror, replica="node-a-0")
    asked = [EmbedRequest(model="m", texts=(letter * 6_000_000,)) for letter in "abc"]
    async with asyncio.timeout(20):
        told = await asyncio.gather(*(caller.request(contract, a, replica="node-a-0") for a in asked))
    assert list(told) == asked


async def test_too_large_is_refused_where_it_is_sent(connect: Connect) -> None:
    caller = await connect(Principal.COGNITION)
    with pytest.raises(TooLarge):
        await caller.request(PLACE, PlaceRequest(model="x" * PLACE.max_bytes))


async def test_too_large_is_refused_where_it_arrives(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)

    async def accept(request: PlaceRequest) -> Placement:
        return placement()

    await server.serve(PLACE, accept)
    wide = altered(PLACE, max_bytes=8 * PLACE.max_bytes)
    with pytest.raises(TooLarge):
        await caller.request(wide, PlaceRequest(model="x" * (2 * PLACE.max_bytes)))


async def test_an_answer_over_its_limit_is_refused(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)

    async def talk(request: PlaceRequest) -> Placement:
        return placement("x" * PLACE.max_bytes)

    await server.serve(PLACE, talk)
    with pytest.raises(TooLarge):
        await caller.request(PLACE, PlaceRequest())


async def test_the_trace_goes_on_at_the_server(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    seen: list[SpanContext] = []

    async def look(request: PlaceRequest) -> Placement:
        seen.append(trace.get_current_span().get_span_context())
        return placement()

    await server.serve(PLACE, look)
    here = SpanContext(0xABC, 0xDEF, False, TraceFlags(0))
    with trace.use_span(NonRecordingSpan(here)):
        await caller.request(PLACE, PlaceRequest())
    await caller.request(PLACE, PlaceRequest())
    assert seen[0].trace_id == 0xABC
    assert not seen[1].is_valid


async def test_a_subject_parameter_must_be_one_token(connect: Connect) -> None:
    caller = await connect(Principal.COGNITION)
    for forged in ("*", "a.b", ">", "a b", ""):
        with pytest.raises(InvalidRequest):
            await caller.request(EMBED, EmbedRequest(model="m", texts=("t",)), replica=forged)


async def test_a_drain_finishes_what_is_in_flight_and_takes_no_more(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: PlaceRequest) -> Placement:
        begun.set()
        await go_on.wait()
        return placement("finished")

    await server.serve(PLACE, slow)
    async with asyncio.timeout(PATIENCE_S):
        asked = asyncio.create_task(caller.request(PLACE, PlaceRequest()))
        await begun.wait()
        draining = asyncio.create_task(server.drain(PATIENCE_S))
        while True:
            try:
                await caller.request(PLACE, PlaceRequest(), timeout_s=0.02)
            except Unavailable:
                break
            except TimedOut:
                continue
        go_on.set()
        assert (await asked).policy == "finished"
        await draining


async def test_a_drain_that_runs_out_of_time_says_so_to_the_caller(connect: Connect) -> None:
    server, caller = await connect(Principal.SCHEDULER), await connect(Principal.COGNITION)
    begun = asyncio.Event()

    async def never(request: PlaceRequest) -> Placement:
        begun.set()
        await asyncio.Event().wait()
        return placement()

    await server.serve(PLACE, never)
    async with asyncio.timeout(PATIENCE_S):
        asked = asyncio.create_task(caller.request(PLACE, PlaceRequest()))
        await begun.wait()
        await server.drain(0.05)
        error = (await asyncio.gather(asked, return_exceptions=True))[0]
    assert getattr(error, "code", None) == "cancelled"


async def test_every_subscriber_hears_a_broadcast_and_survives_its_own_faults(connect: Connect) -> None:
    listeners = [await connect(Principal.SCHEDULER) for _ in range(2)]
    speaker = await connect(Principal.COGNITION)
    heard: asyncio.Queue[str] = asyncio.Queue()
    for listener in listeners:

        async def listen(outcome: Outcome) -> None:
            await heard.put(outcome.model)
            if outcome.model == "first":
                raise RuntimeError("a fault of this listener")

        await listener.subscribe(OUTCOME, listen)
    async with asyncio.timeout(PATIENCE_S):
        for model in ("first", "second"):
            await speaker.broadcast(OUTCOME, Outcome(node_id="n", replica="n-0", model=model, ok=True))
            assert [await heard.get(), await heard.get()] == [model, model]
