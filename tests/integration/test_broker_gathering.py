"""What a connection gathers before it sends, at a real broker: in order, at most once, and all of it when asked."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from libs.shared.bus import connection
from libs.shared.bus.connection import NatsTransport
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

    def __init__(self) -> None:
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
    heard = Heard()
    await (await broker.connect(Principal.COGNITION)).transport.subscribe(SUBJECT, heard.take)
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
    writer.transport.abort()
    assert await heard.until("49") == [str(number) for number in range(50)]


async def nothing_comes_twice_over_crashes(broker: TestBroker) -> None:
    publisher, heard = await _pair(broker)
    for life in range(2):
        for number in range(20):
            publisher.publish(SUBJECT, b"%d-%d" % (life, number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        stopping = asyncio.create_task(broker.stop(signal.SIGKILL))
        while publisher.connected:
            publisher.publish(SUBJECT, b"lost-%d-%d" % (life, number))
            number += 1
            await asyncio.sleep(0)
        await stopping
        await broker.start()
        await publisher.wait_connected(PATIENCE_S)
    while "after" not in heard.bodies:
        # the subscriber comes back at its own pace
        await publisher.wait_connected(PATIENCE_S)
        publisher.publish(SUBJECT, b"after")
        await publisher.flush(5)
    once = [body for body in heard.bodies if body != "after"]
    assert len(once) == len(set(once))
    assert [body for body in once if not body.startswith("lost")] == sorted(
        (body for body in once if not body.startswith("lost")), key=lambda body: [int(part) for part in body.split("-")]
    )


CHECKS = (every_turn_in_order, a_flush_means_that_the_broker_has_it, nothing_comes_twice_over_crashes)
Check = Callable[[TestBroker], Awaitable[None]]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_it_holds(check: Check, tmp_path: Path) -> None:
    async with asyncio.timeout(2 * PATIENCE_S), TestBroker(tmp_path) as broker:
        await check(broker)


def what_is_gathered_stays(patch: Patch) -> None:
    patch.setattr(DirectTcp, "send", lambda self: None)


def kept_for_the_next_connection(patch: Patch) -> None:
    class Keeping(DirectTcp):
        async def connect(self, *given: object) -> None:
            await super().connect(*given)  # type: ignore[arg-type]
            self.before, Keeping.last = Keeping.last, []

        def _put(self, frames: object) -> None:
            Keeping.last = [frame for frame in (*Keeping.last, *frames) if frame.startswith(b"PUB")][-20:]  # type: ignore[misc]
            again, self.before = self.before, []
            super()._put([*frames, *again])  # type: ignore[misc]

        last: list[bytes] = []  # noqa: RUF012
        before: list[bytes] = []  # noqa: RUF012

    patch.setattr(connection, "DirectTcp", Keeping)


MUTATIONS: tuple[tuple[Callable[[Patch], None], Check], ...] = (
    (what_is_gathered_stays, every_turn_in_order),
    (what_is_gathered_stays, a_flush_means_that_the_broker_has_it),
    (kept_for_the_next_connection, nothing_comes_twice_over_crashes),
)


@pytest.mark.parametrize(("take_away", "check"), MUTATIONS, ids=lambda given: given.__name__)
async def test_the_check_notices(
    take_away: Callable[[Patch], None], check: Check, tmp_path: Path, monkeypatch: Patch
) -> None:
    async with TestBroker(tmp_path) as broker:
        with monkeypatch.context() as patch:
            take_away(patch)
            with pytest.raises((AssertionError, Exception)):
                async with asyncio.timeout(MUTANT_TIMEOUT_S):
                    await check(broker)
