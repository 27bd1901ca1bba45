"""What every request meets first: limits on bodies and time, headers, a client that leaves, a server that stops."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.shared.contracts.chat import ChatChunk, ChatRequest
from libs.shared.errors import Unavailable
from libs.shared.telemetry import metrics_text
from libs.shared.telemetry.traces import export_to
from services.api.body_limits import ORDINARY, BoundedBody
from services.api.clients import WhileConnected
from services.api.edge import SECURITY_HEADERS
from services.api.http_limits import BoundedHttp
from services.api.service import listen
from tests.unit.api.house import Api, House, open_api, raw_request, served

CHAT = "/v1/chat/completions"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/v1/models", "/nothing", "/openapi.json"])
async def test_every_answer_has_the_security_headers(api: Api, path: str) -> None:
    headers = (await api.client.get(path)).headers
    for name, value in SECURITY_HEADERS:
        assert headers[name.decode()] == value.decode()
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


async def parts_of(total: int, size: int = 4096) -> Any:
    for _ in range(total // size):
        yield b"x" * size


async def a_large_body_is_refused(house: House) -> None:
    async with open_api(house, body_limit_bytes=64 * 1024) as api:
        told = await api.client.post(CHAT, content=b"x" * 70_000, headers=api.key())
        assert (told.status_code, told.json()["error"]["code"]) == (413, "too_large")
        untold = await api.client.post(CHAT, content=parts_of(70_000), headers=api.key())
        assert untold.status_code == 413
        form = await api.client.post("/api/v1/auth/token", content=parts_of(70_000), headers=FORM)
        assert (form.status_code, form.json()["code"]) == (413, "too_large")
        json_headers = {**await api.session(), "Content-Type": "application/json"}
        under_api = await api.client.post("/api/v1/keys", content=parts_of(70_000), headers=json_headers)
        assert (under_api.status_code, under_api.json()["code"]) == (413, "too_large")


async def test_a_large_body_is_refused_told_or_untold(house: House) -> None:
    await a_large_body_is_refused(house)


async def test_a_limit_that_only_believes_content_length_would_be_passed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedBody, "__call__", lambda self: self._receive())
    with pytest.raises(AssertionError):
        await a_large_body_is_refused(house)


async def a_form_of(api: Api, size: int) -> int:
    return (await api.client.post("/api/v1/auth/token", content=b"username=" + b"x" * size, headers=FORM)).status_code


async def test_whoever_needs_no_credential_may_send_little(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await a_form_of(api, 70_000) == 413
    monkeypatch.setattr(BoundedBody, "narrow", lambda *_: None)
    assert await a_form_of(api, 70_000) != 413, "the check must notice a limit that isn't there"


async def test_a_client_that_is_still_sending_learns_why_its_body_is_refused(house: House) -> None:
    async with open_api(house, body_limit_bytes=64 * 1024) as api, served(api) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 400000\r\n")
        writer.write(b"".join(f"{name}: {value}\r\n".encode() for name, value in api.key().items()) + b"\r\n")
        async with asyncio.timeout(5):
            for _ in range(100):
                writer.write(b"x" * 4000)
                await writer.drain()
                await asyncio.sleep(0)
            assert b" 413 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()


async def large_bodies_at_once(api: Api, count: int) -> list[int]:
    """The statuses of requests whose bodies wait for their last bytes until everybody has begun."""
    arrived, everybody = 0, asyncio.Event()

    async def slow_body() -> Any:
        nonlocal arrived
        arrived += 1
        if arrived == count:
            everybody.set()
        yield b'{"messages": [{"role": "user", "content": "' + b"x" * 500_000
        await everybody.wait()
        yield b'"}]}'

    async def one() -> int:
        return (await api.client.post(CHAT, content=slow_body(), headers=headers)).status_code

    headers = api.key()
    async with asyncio.timeout(10):
        return await asyncio.gather(*(one() for _ in range(count)))


async def test_only_so_many_large_bodies_are_held_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_api(house, body_limit_bytes=512 * 1024) as api:
        statuses = await large_bodies_at_once(api, 12)
        assert 429 in statuses
        assert statuses.count(200) >= 8
        assert ORDINARY.bytes == 0
        monkeypatch.setattr(ORDINARY, "most_bodies", 100)
        assert 429 not in await large_bodies_at_once(api, 12), "without the bound all of them are held"


async def test_a_refused_body_without_end_does_not_hold_its_connection(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.http_limits.LINGER_S", 0.1)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nx"
    async with served(api) as address:
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(5):
            writer.write(head)
            assert b" 401 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"y")  # where uvicorn's own patience ends
            await reader.read()
        writer.close()


async def a_newcomer_is_answered(api: Api) -> bool:
    """Whether somebody is answered while others hold as many idle connections as there may be."""
    async with served(api) as address, asyncio.timeout(10):
        held = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            held.append(writer)
        last = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"
        answered = b" 200 " in await answer_to(address, last)
        for writer in held:
            writer.close()
        return answered


async def test_idle_connections_make_room_for_new_ones(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_api(house, http_connections=16) as api:
        assert await a_newcomer_is_answered(api)
        monkeypatch.setattr(BoundedHttp, "_make_room", lambda self: None)
        assert not await a_newcomer_is_answered(api)


async def test_a_body_that_trickles_in_is_given_up(house: House) -> None:
    async with open_api(house, body_timeout_s=0.05) as api, served(api) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(raw_request(CHAT, api.key(), HELLO)[:-10])
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert b" 408 " in head
        assert b"connection: close" in head.lower()
        writer.close()
        await writer.wait_closed()


async def answer_to(address: tuple[str, int], *pieces: bytes) -> bytes:
    """What the server says before it closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(5):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("header", [b"a: b\r\n" * 20_000, b"a: " + b"b" * 100_000], ids=["many", "one"])
async def test_headers_without_end_are_refused(api: Api, header: bytes) -> None:
    async with served(api) as address:
        assert b" 400 " in await answer_to(address, b"GET /healthz HTTP/1.1\r\n", header)


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\na: b"], ids=["nothing", "a part"])
async def test_a_head_that_does_not_come_is_given_up(api: Api, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.api.http_limits.HEAD_TIMEOUT_S", 0.05)
    async with served(api) as address:
        assert await answer_to(address, start) == b""


async def test_many_requests_on_one_connection_are_answered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.api.http_limits.HEAD_LIMIT_BYTES", 200)
    async with served(api) as address:
        request = b"GET /healthz HTTP/1.1\r\nHost: api\r\n\r\n"
        last = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"
        answers = await answer_to(address, *[request] * 20, last)
        assert answers.count(b'{"status":"ok"}') == 21


async def test_a_request_that_takes_too_long_is_ended(house: House) -> None:
    house.silent = True
    async with open_api(house, request_timeout_s=0.05) as api:
        answer = await api.ask(api.key())
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timed_out")
        async with asyncio.timeout(5):
            await house.cancelled.wait()


async def leaving_cancels_the_turn(api: Api, *, stream: bool, first_chunk: bool) -> float:
    """How long it takes from the client's leaving until cognition is told, in seconds."""
    house = api.house
    house.silent, house.hold = not first_chunk, asyncio.Event()
    async with served(api) as address, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(raw_request(CHAT, api.key(), {**HELLO, "stream": stream}))
        await house.generating.wait()
        if first_chunk and stream:
            await reader.readuntil(b"Hello")
        left = perf_counter()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(1):
            await house.cancelled.wait()
        return perf_counter() - left


@pytest.mark.parametrize("first_chunk", [False, True], ids=["before the first chunk", "after it"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_client_that_leaves_ends_its_turn_within_100_ms(api: Api, stream: bool, first_chunk: bool) -> None:
    assert await leaving_cancels_the_turn(api, stream=stream, first_chunk=first_chunk) < 0.1


async def test_without_the_watch_a_turn_would_go_on_for_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WhileConnected, "_left", lambda *_: None)
    async with open_api(house, drain_timeout_s=0.1) as api:
        with pytest.raises(TimeoutError):
            await leaving_cancels_the_turn(api, stream=False, first_chunk=False)


async def test_chunks_are_sent_as_they_come(api: Api) -> None:
    api.house.hold = asyncio.Event()
    async with served(api) as address, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(raw_request(CHAT, api.key(), {**HELLO, "stream": True}))
        await reader.readuntil(b"Hello")
        api.house.hold.set()
        rest = await reader.readuntil(b"[DONE]")
        assert b"w\xc3\xb6rld" in rest
        writer.close()
        await writer.wait_closed()


async def test_a_server_that_stops_finishes_what_it_began(api: Api) -> None:
    api.house.hold = asyncio.Event()
    async with asyncio.timeout(5):
        async with served(api) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(raw_request(CHAT, api.key(), {**HELLO, "stream": True}))
            await reader.readuntil(b"Hello")
            asyncio.get_running_loop().call_later(0.05, api.house.hold.set)
        assert b"[DONE]" in await reader.read()
        writer.close()
        await writer.wait_closed()


def test_a_port_that_is_taken_is_told_plainly() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} can't be listened on"):
            listen("127.0.0.1", port)


def test_an_address_that_is_none_is_told_plainly() -> None:
    with pytest.raises(Unavailable, match="no address"):
        listen("256.1.1.1", 0)


async def test_a_fault_of_ours_is_told_without_detail(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: ChatRequest) -> list[ChatChunk]:
        raise RuntimeError("a secret detail")

    api.house.answer = broken
    answer = await api.ask(api.key())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in answer.text


async def test_requests_are_measured_by_route_and_never_by_path(api: Api) -> None:
    await api.client.get("/api/v1/conversations/c1", headers=api.key())
    text = metrics_text()
    assert 'http_route="/api/v1/conversations/{conversation_id}"' in text
    assert "conversations/c1" not in text


@pytest.mark.parametrize(
    "traceparent", ["", "x", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "00-" + "a" * 32 + "-" + "b" * 16 + "-00"]
)
async def test_any_traceparent_is_survived(api: Api, traceparent: str) -> None:
    answer = await api.client.get("/healthz", headers={"traceparent": traceparent})
    assert answer.status_code == 200


async def test_a_caller_s_trace_goes_on_here_and_in_what_the_request_asks_for(api: Api) -> None:
    exporter = InMemorySpanExporter()
    stop = export_to("api", exporter, at_once=True)
    try:
        trace_id, span_id = "a" * 32, "b" * 16
        headers = {**api.key(), "traceparent": f"00-{trace_id}-{span_id}-01"}
        await api.client.get("/api/v1/conversations/c1", headers=headers)
    finally:
        stop()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    server = spans["GET /api/v1/conversations/{conversation_id}"]
    assert server.parent is not None
    assert (f"{server.context.trace_id:032x}", f"{server.parent.span_id:016x}") == (trace_id, span_id)
    assert server.attributes is not None
    assert server.attributes["http.response.status_code"] == 200
    assert len(spans) > 1, "the requests to persistence belong to it"
    assert {span.context.trace_id for span in spans.values()} == {server.context.trace_id}
