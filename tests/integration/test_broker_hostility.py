"""Messages that no well-meaning client sends: whoever may speak to a service must not be able to silence it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from libs.shared.bus.connection import NatsTransport, _DirectClient
from libs.shared.bus.parts import PartsSender
from libs.shared.bus.wire import ERROR, GRANT, Incoming, block
from libs.shared.contracts.base import Principal
from libs.shared.contracts.scheduling import PLACE, PlaceRequest
from tests.support.broker import TestBroker
from tests.support.conversations import echo

_PLACE = PLACE.subject.encode()
HOSTILE_FRAMES = {
    "a reply subject that is no text": b"PUB %b _INBOX_api.\xff\xfe 2\r\n{}\r\n" % _PLACE,
    "a status that is no number": b"HPUB %b _INBOX_api.a 18 20\r\nNATS/1.0 abc x\r\n\r\n{}\r\n" % _PLACE,
    "a header without its end": b"HPUB %b _INBOX_api.a 24 24\r\nNATS/1.0\r\nMongars-Parts:\r\n" % _PLACE,
}


async def survives(broker: TestBroker, frame: bytes) -> bool:
    """Whether a service still answers after ``frame`` was sent to it."""
    server, caller = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.COGNITION)
    await server.serve(PLACE, echo)
    hostile = NatsTransport("_INBOX_cognition")
    seed_file = broker.seed_file(Principal.COGNITION)
    await hostile.open(broker.url, seed_file=seed_file, ca_file=None, name="hostile")
    hostile._client.write(frame)
    await hostile.flush(5)
    await hostile.close()
    try:
        return (await caller.request(PLACE, PlaceRequest(model="m"), timeout_s=1.0)).policy == "m"
    except Exception:
        return False


@pytest.mark.parametrize("frame", HOSTILE_FRAMES.values(), ids=HOSTILE_FRAMES)
async def test_a_service_goes_on_after_a_message_that_cannot_be_read(tmp_path: Path, frame: bytes) -> None:
    async with asyncio.timeout(20), TestBroker(tmp_path) as broker:
        assert await survives(broker, frame)


async def test_an_upload_that_is_announced_twice_is_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("libs.shared.bus.parts.PART_TIMEOUT_S", 0.1)
    async with asyncio.timeout(20), TestBroker(tmp_path) as broker:
        server, caller = await broker.connect(Principal.SCHEDULER), await broker.connect(Principal.COGNITION)
        await server.serve(PLACE, echo)
        refusals: asyncio.Queue[str | None] = asyncio.Queue()
        inbox = "_INBOX_cognition.twice"

        def hear(incoming: Incoming) -> None:
            if incoming.header(GRANT) is None:
                refusals.put_nowait(incoming.header(ERROR))

        await caller.transport.subscribe(inbox, hear)
        announced = block(PartsSender(b"x" * 600_000).announcement("hostile"))
        for _ in range(2):
            caller.transport.publish(PLACE.subject, b"", reply=inbox, headers=announced)
        assert [await refusals.get(), await refusals.get()] == ["invalid_request", "timed_out"]
        assert (await caller.request(PLACE, PlaceRequest(model="m"))).policy == "m"
    assert "handler_failed" not in caplog.text


async def test_the_check_notices_a_service_that_was_silenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unguarded(
        self: _DirectClient, sid: bytes, subject: bytes, reply: bytes, body: bytes, headers: bytes | None
    ) -> None:
        self.direct[int(sid)](Incoming(subject.decode(), reply.decode(), body, headers))

    monkeypatch.setattr(_DirectClient, "take", unguarded)
    async with asyncio.timeout(20), TestBroker(tmp_path) as broker:
        assert not await survives(broker, HOSTILE_FRAMES["a reply subject that is no text"])
