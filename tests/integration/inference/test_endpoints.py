"""A pool of endpoints over real connections, that fail in every way; what is counted is held against what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from libs.shared.breakers import BreakerRules
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import METRICS
from libs.shared.errors import BackendFailed, ContextExceeded, Overloaded, ServiceError
from libs.shared.telemetry import metrics
from libs.shared.telemetry.metrics import REGISTRY
from services.inference.backends import rotation
from services.inference.backends import upstream as upstream_backend
from services.inference.backends.choose import Node, make_backend
from services.inference.backends.endpoints import EndpointPool
from services.inference.consent import Consent
from services.inference.measuring import EndpointMeter
from services.inference.models import ModelSpec
from tests.integration.inference.conftest import ask, running
from tests.integration.inference.upstreams import WORDS, FakeOpenAI, running_upstream
from tests.support.broker import TestBroker

FAR = "127.0.0.99"
"""An address of this machine that stands for a remote one."""
PATIENCE_S = 0.3


class Endpoint(FakeOpenAI):
    """``fault`` is what it does instead of answering."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__()
        self.host = host
        self.fault: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.posts = 0

    async def models(self, request: web.Request) -> web.Response:
        """Keeps no connection open: a server that is gone is then refused, and not found broken off."""
        listed = await super().models(request)
        listed.force_close()
        return listed

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.posts += 1
        return await (self.fault or super().chat)(request)


def says(status: int, retry_after: str | None = None) -> Callable[[Endpoint], Awaitable[None]]:
    async def set_fault(endpoint: Endpoint) -> None:
        endpoint.status, endpoint.retry_after = status, retry_after

    return set_fault


async def refuses_connections(endpoint: Endpoint) -> None:
    await endpoint.stop()


async def hangs(endpoint: Endpoint) -> None:
    async def fault(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    endpoint.fault = fault


async def talks_garbage(endpoint: Endpoint) -> None:
    async def fault(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"data: {not json\n\n" + bytes(range(256)))

    endpoint.fault = fault


async def says_the_wrong_shape(endpoint: Endpoint) -> None:
    async def fault(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b'data: {"choices": [[]]}\n\n')

    endpoint.fault = fault


async def cuts_before_the_first_word(endpoint: Endpoint) -> None:
    async def fault(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    endpoint.fault = fault


async def is_cut_mid_stream(endpoint: Endpoint) -> None:
    endpoint.break_off = True


def counted(name: str, **labels: str) -> int:
    """The sum of a sample over the requests to endpoints that carry ``labels``."""
    labels["llm_ray_asked"] = "endpoint"
    return round(
        sum(
            sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
    )


def counts(reason: str) -> dict[str, int]:
    return {
        "requests": counted("llm_ray_requests_total"),
        "successes": counted("llm_ray_successes_total"),
        "failures": counted("llm_ray_failures_total"),
        "failures for this reason": counted("llm_ray_failures_total", reason=reason),
        "fallbacks": counted("llm_ray_fallbacks_total"),
        "latencies": counted("llm_ray_latency_seconds_count"),
    }


@dataclass
class Pool:
    """Endpoints, and the backend that goes round them."""

    endpoints: tuple[Endpoint, ...]
    backend: EndpointPool
    changes: int = 0
    failures: list[ServiceError] = field(default_factory=list)

    @property
    def posts(self) -> list[int]:
        return [endpoint.posts for endpoint in self.endpoints]

    async def answer(self, request: GenerateRequest | None = None) -> list[GenerateChunk]:
        async with asyncio.timeout(10):
            return [chunk async for chunk in self.backend.generate(request or ask("big"))]

    async def ask_often(self, times: int) -> None:
        """One after the other; failures are kept."""
        for _ in range(times):
            try:
                assert (await self.answer())[-1].usage is not None
            except ServiceError as error:
                self.failures.append(error)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - waits for a probe or a clock, which have no event here
                await asyncio.sleep(0.01)


Build = Callable[..., Awaitable[Pool]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have taught the label as many models as it learns."""
    monkeypatch.setattr(upstream_backend, "is_remote", lambda address: address == FAR)
    monkeypatch.setattr(metrics.MODEL, "_learned", {"big", "ray/big"})


@pytest.fixture
async def pool(node: Node) -> AsyncIterator[Build]:
    async with AsyncExitStack() as stack:

        async def build(*endpoints: Endpoint, consent: bool = False, slots: int = 2, key: str | None = None) -> Pool:
            for endpoint in endpoints:
                await stack.enter_async_context(running_upstream(endpoint))
            spec = ModelSpec(
                backend="endpoints",
                upstream="ray",
                urls=tuple(f"{endpoint.url}/v1" for endpoint in endpoints),
                options={"slots": slots, "patience_s": PATIENCE_S},
            )
            backend = make_backend(spec, replace(node, consent=Consent(allowed=consent)))
            assert isinstance(backend, EndpointPool)
            made = Pool(endpoints, backend)

            def changed() -> None:
                made.changes += 1

            await backend.load(changed)
            stack.push_async_callback(backend.close)
            return made

        yield build


async def test_they_take_turns_and_are_one_pool_with_the_capacity_of_all(pool: Build) -> None:
    made = await pool(Endpoint(), Endpoint(), Endpoint())
    assert made.backend.slots == 6
    assert {model.name: model.upstream for model in made.backend.models()} == {"big": "ray", "small": "ray"}
    await made.ask_often(6)
    assert made.posts == [2, 2, 2]
    assert "".join(chunk.text for chunk in await made.answer()) == "".join(WORDS)


Break = Callable[[Endpoint], Awaitable[None]]
MOST_FAILURES = 3
"""In a row, until a breaker opens."""
FAULTS: dict[str, tuple[Break, str, int, int]] = {
    # what breaks, the reason under which it is counted, requests that reach the endpoint of ten, those that are heard
    "refused": (refuses_connections, "unreachable", 1, 0),
    "no answer": (hangs, "timeout", 3, 3),
    "500": (says(500), "upstream_error", 3, 3),
    "503": (says(503), "upstream_error", 3, 3),
    "503 with Retry-After": (says(503, "60"), "overloaded", 1, 1),
    "429 with Retry-After": (says(429, "60"), "overloaded", 1, 1),
    "no credit": (says(402), "upstream_error", 3, 3),
    "moved elsewhere": (says(307), "upstream_error", 3, 3),
    "wrong key": (says(401), "unauthorized", 3, 3),
    "model gone": (says(404), "model_not_found", 3, 3),
    "cut before the first word": (cuts_before_the_first_word, "broke_off", 3, 3),
    "garbage": (talks_garbage, "protocol", 3, 3),
    "another shape": (says_the_wrong_shape, "protocol", 3, 3),
}


async def check_counts(pool: Build, fault: str) -> None:
    """Ten requests to two endpoints of which one is broken: all succeed, and each attempt is counted once."""
    break_it, reason, sent, heard = FAULTS[fault]
    broken, well = Endpoint(), Endpoint()
    made = await pool(broken, well)
    await break_it(broken)
    before = counts(reason)
    await made.ask_often(10)
    after = counts(reason)
    assert made.failures == []
    assert made.posts == [heard, 10]
    if not heard:  # only the pool knows how often it tried: as often as it had to go on to the other one
        tried = after["fallbacks"] - before["fallbacks"]
        assert sent <= tried <= MOST_FAILURES
        sent = tried
    assert {name: after[name] - before[name] for name in after} == {
        "requests": 10 + sent,
        "successes": 10,
        "failures": sent,
        "failures for this reason": sent,
        "fallbacks": sent,
        "latencies": 10,
    }


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_request_is_counted_once_as_it_went(pool: Build, fault: str) -> None:
    await check_counts(pool, fault)


async def test_an_uncounted_failure_would_be_noticed(pool: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EndpointMeter, "_fail", lambda *_: None)
    with pytest.raises(AssertionError):
        await check_counts(pool, "500")


async def test_after_the_first_token_nothing_is_tried_again(pool: Build) -> None:
    cut, well = Endpoint(), Endpoint()
    made = await pool(cut, well)
    await is_cut_mid_stream(cut)
    before = counts("broke_off")
    async with aclosing(made.backend.generate(ask("big"))) as chunks:
        assert (await anext(chunks)).text == WORDS[0]
        with pytest.raises(BackendFailed) as failed:
            await anext(chunks)
    after = counts("broke_off")
    assert failed.value.data["reason"] == "broke_off"
    assert made.posts == [1, 0]
    assert after["failures for this reason"] - before["failures for this reason"] == 1
    assert after["fallbacks"] == before["fallbacks"]


async def test_one_that_always_cuts_is_passed_over_in_the_end(pool: Build) -> None:
    cut, well = Endpoint(), Endpoint()
    made = await pool(cut, well)
    await is_cut_mid_stream(cut)
    await made.ask_often(10)
    assert (cut.posts, len(made.failures)) == (3, 3)
    assert made.backend.troubles() == ("ray-1: resting",)
    assert made.backend.slots == 2


async def test_leaving_stops_the_endpoint_and_counts_as_the_client_s(pool: Build) -> None:
    endpoint = Endpoint()
    made = await pool(endpoint)
    before = counts("client_gone")
    endpoint.pause.clear()
    async with aclosing(made.backend.generate(ask("big"))) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await endpoint.left.wait()
    after = counts("client_gone")
    assert after["failures for this reason"] - before["failures for this reason"] == 1
    endpoint.pause.set()
    await made.ask_often(5)
    assert made.failures == []


async def test_leaving_after_the_last_chunk_is_no_failure(pool: Build) -> None:
    made = await pool(Endpoint())
    before = counts("client_gone")
    async with aclosing(made.backend.generate(ask("big"))) as chunks:
        async for chunk in chunks:
            if chunk.finish_reason is not None:
                break
    after = counts("client_gone")
    assert (after["successes"] - before["successes"], after["failures"] - before["failures"]) == (1, 0)


@pytest.mark.parametrize("as_date", [False, True])
async def test_while_all_ask_for_time_so_is_the_caller(pool: Build, as_date: bool) -> None:
    made = await pool(Endpoint(), Endpoint())
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    for endpoint in made.endpoints:
        await says(429, date if as_date else "60")(endpoint)
    await made.ask_often(3)
    assert made.posts == [1, 1]
    for failure in made.failures:
        assert isinstance(failure, Overloaded)
        assert 40 < failure.data["retry_after_s"] <= 60


async def test_one_that_asked_for_time_is_asked_again_when_it_is_over(pool: Build) -> None:
    busy = Endpoint()
    made = await pool(busy, Endpoint())
    await says(429, "0.2")(busy)
    await made.answer()
    assert made.backend.slots == 2
    busy.status = 200
    changes = made.changes
    await made.until(lambda: made.backend.slots == 4)
    await made.until(lambda: made.changes > changes)
    await made.ask_often(4)
    assert busy.posts >= 2


async def test_one_that_is_well_again_is_found_by_its_probe(pool: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "RULES", BreakerRules(first_open_s=0.2))
    broken = Endpoint()
    made = await pool(broken, Endpoint())
    await says(500)(broken)
    await made.ask_often(8)
    assert broken.posts == 3
    broken.status = 200
    await made.until(lambda: made.backend.troubles() == ())
    await made.ask_often(4)
    assert broken.posts == 5
    assert made.failures == []


async def test_a_request_that_is_at_fault_itself_is_not_sent_round(pool: Build) -> None:
    made = await pool(Endpoint(), Endpoint())
    for endpoint in made.endpoints:
        await says(400)(endpoint)
        endpoint.refusal = {"error": {"message": "maximum context length is 4096 tokens"}}
    await made.ask_often(8)
    assert sum(made.posts) == 8
    assert {type(failure) for failure in made.failures} == {ContextExceeded}
    assert made.backend.troubles() == ()


async def test_a_request_is_sent_to_no_more_than_three(pool: Build) -> None:
    made = await pool(*(Endpoint() for _ in range(5)))
    for endpoint in made.endpoints:
        await says(500)(endpoint)
    await made.ask_often(1)
    assert sum(made.posts) == 3
    assert made.failures[0].data == {"reason": "upstream_error"}


async def test_without_leave_a_remote_endpoint_is_not_even_connected_to(pool: Build) -> None:
    far, near = Endpoint(FAR), Endpoint()
    made = await pool(far, near)
    await made.ask_often(4)
    assert (far.connections, near.posts) == (0, 4)
    assert made.backend.troubles() == ("ray-1: remote-not-allowed",)
    assert not any(model.remote for model in made.backend.models())


async def test_with_leave_what_is_remote_is_marked_and_nothing_else_is_sent_there(pool: Build) -> None:
    far, near = Endpoint(FAR), Endpoint()
    made = await pool(far, near, consent=True)
    assert {model.name: model.remote for model in made.backend.models()} == {
        "big": False,
        "small": False,
        "ray/big": True,
        "ray/small": True,
    }
    await made.ask_often(3)
    assert made.posts == [0, 3]
    await made.answer(ask("ray/big"))
    assert made.posts == [1, 3]
    assert far.asked[0]["model"] == "big"


async def test_a_node_tells_of_its_pool_and_of_what_is_left_of_it(tmp_path: Path) -> None:
    async with (
        TestBroker(tmp_path) as broker,
        running_upstream(first := Endpoint()),
        running_upstream(Endpoint()) as last,
    ):
        urls = f"{first.url}/v1,{last.url}/v1"
        environment = {"MONGARS_RAY_ENDPOINTS": urls, "MONGARS_RAY_ENDPOINT_SLOTS": "3"}
        async with running(broker, tmp_path / "state", **environment) as service:
            replica = await service.replica_of("big")
            told = await service.until(lambda t: any("big" in r.models and r.slots == 6 for r in t.replicas))
            assert {m.upstream for m in told.models if m.name == "big"} == {"ray"}
            await first.stop()
            for _ in range(2):
                assert (await service.generate(replica, ask("big")))[-1].usage is not None
            await service.until(lambda t: any("big" in r.models and r.slots == 3 for r in t.replicas))
            await service.until(lambda t: "ray-1-unreachable" in t.degraded)
            text = (await service.api.request(METRICS[Principal.INFERENCE], Empty())).text
    (successes,) = [line for line in text.splitlines() if line.startswith("llm_ray_successes_total{")]
    assert 'llm_ray_asked="endpoint"' in successes
    assert successes.endswith(" 2.0")
