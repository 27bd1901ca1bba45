"""What a connection gathers before it sends, at a real broker: in order, at most once, and all of it when asked."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from libs.shared.bus import connection
from libs.shared.bus.connection import NatsTransport
from libs.shared.bus.frames import OnFrame
from libs.shared.bus.tcp import DirectTcp
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import Principal
from tests.support.broker import TestBroker

PATIENCE_S = 20
MUTANT_TIMEOUT_S = 2.5
SUBJECT = "_INBOX_cognition.gathering"
Patch = pytest.MonkeyPatch


class Heard:
    """The bodies that one subscriber got."""

    def __init__(self, transport: NatsTransport) -> None:
        self.transport = transport
        self.bodies: list[str] = []
        self._more = asyncio.Event()

    def take(self, incoming: Incoming) -> None:
        self.bodies.append(incoming.body.decode())
        self._more.set()

    async def until(self, body: str) -> list[str]:
        async with asyncio.timeout(PATIENCE_S):
            while body not in self.bodies:
                self._more.clear()
                await self._more.wait()
        return self.bodies


async def _pair(broker: TestBroker) -> tuple[NatsTransport, Heard]:
    """Who publishes, and what the other hears."""
    publisher = (await broker.connect(Principal.SCHEDULER)).transport
    heard = Heard((await broker.connect(Principal.COGNITION)).transport)
    await heard.transport.subscribe(SUBJECT, heard.take)
    return publisher, heard


async def every_turn_in_order(broker: TestBroker) -> None:
    publisher, heard = await _pair(broker)
    sent: list[str] = []
    for turn in range(300):
        for number in range(turn % 6):
            sent.append(f"{turn}-{number}-" + "x" * (turn * number))
            publisher.publish(SUBJECT, sent[-1].encode())
        await asyncio.sleep(0)
        if turn % 50 == 0:
            await publisher.relieve()
    assert await heard.until(sent[-1]) == sent


async def a_flush_means_that_the_broker_has_it(broker: TestBroker) -> None:
    publisher, heard = await _pair(broker)
    for number in range(50):
        publisher.publish(SUBJECT, b"%d" % number)
    await publisher.flush(5)
    # with its connection goes all that it may still hold
    writer = publisher._client._transport._io_writer  # type: ignore[union-attr]
    assert writer is not None
    lost = asyncio.Event()
    publisher.on_lost(lost.set)
    writer.transport.abort()
    await lost.wait()
    await publisher.wait_connected(PATIENCE_S)
    assert await heard.until("49") == [str(number) for number in range(50)]


async def nothing_comes_twice_over_crashes(broker: TestBroker) -> None:
    publisher, heard = await _pair(broker)
    for life in range(2):
        for number in range(20):
            publisher.publish(SUBJECT, b"%d-%d" % (life, number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        # what was heard once would be heard again
        await heard.until(f"{life}-19")
        stopping = asyncio.create_task(broker.stop(signal.SIGKILL))
        while publisher.connected:
            publisher.publish(SUBJECT, b"lost-%d-%d" % (life, number))
            number += 1
            await asyncio.sleep(0)
        await stopping
        await broker.start()
        for transport in (publisher, heard.transport):
            await transport.wait_connected(PATIENCE_S)
            await transport.flush(5)
        publisher.publish(SUBJECT, b"%d-after" % life)
        await heard.until(f"{life}-after")
    assert len(heard.bodies) == len(set(heard.bodies))


CHECKS = (every_turn_in_order, a_flush_means_that_the_broker_has_it, nothing_comes_twice_over_crashes)
Check = Callable[[TestBroker], Awaitable[None]]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_it_holds(check: Check, tmp_path: Path) -> None:
    async with asyncio.timeout(2 * PATIENCE_S), TestBroker(tmp_path) as broker:
        await check(broker)


def publications_stay(patch: Patch) -> None:
    send = DirectTcp.send

    def all_but_publications(self: DirectTcp) -> None:
        kept = [frame for frame in self._gathered if frame.startswith(b"PUB")]
        self._gathered = [frame for frame in self._gathered if frame not in kept]
        send(self)
        self._gathered = kept

    patch.setattr(DirectTcp, "send", all_but_publications)


def kept_for_the_next_connection(patch: Patch) -> None:
    kept: list[bytes] = []

    class Keeping(DirectTcp):
        def __init__(self, on_frame: OnFrame) -> None:
            super().__init__(on_frame)
            self.used = False

        def _put(self, frames: Sequence[bytes]) -> None:
            if any(frame.startswith(b"PUB") for frame in frames):
                # attempts to connect that came to nothing lie between
                before = () if self.used else tuple(kept)
                self.used = True
                kept.extend(frames)
                frames = (*before, *frames)
            super()._put(frames)

    patch.setattr(connection, "DirectTcp", Keeping)


MUTATIONS: tuple[tuple[Callable[[Patch], None], Check], ...] = (
    (publications_stay, every_turn_in_order),
    (publications_stay, a_flush_means_that_the_broker_has_it),
    (kept_for_the_next_connection, nothing_comes_twice_over_crashes),
)


@pytest.mark.parametrize(("take_away", "check"), MUTATIONS, ids=lambda given: given.__name__)
async def test_the_check_notices(
    take_away: Callable[[Patch], None], check: Check, tmp_path: Path, monkeypatch: Patch
) -> None:
    async with TestBroker(tmp_path) as broker:
        with monkeypatch.context() as patch:
            take_away(patch)
            with pytest.raises((AssertionError, TimeoutError)):
                async with asyncio.timeout(MUTANT_TIMEOUT_S):
                    await check(broker)
