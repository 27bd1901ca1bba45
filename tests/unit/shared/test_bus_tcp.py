"""What is written to a broker leaves in its order, gathered, within bounds, and at once when it is alone."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import uvloop

from cli.lan.authority import Names, new_authority, new_certificate
from libs.shared.bus import tcp
from libs.shared.bus.slim_nats import TcpTransport
from libs.shared.bus.tcp import GATHERED_BYTES, DirectTcp

PATIENCE_S = 30
QUIET_S = 0.2
"""A writer that has not gone on for so long is taken to be held back."""
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
KIB = 1024


@dataclass
class Peer:
    """The other end: keeps what it reads."""

    port: int = 0
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    got: bytearray = field(default_factory=bytearray)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    writer: asyncio.StreamWriter | None = None

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        await self.reads.wait()
        while data := await reader.read(64 * KIB):
            self.got += data
            self.more.set()
        self.ended.set()
        writer.close()

    async def until(self, length: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.got) < length:
                self.more.clear()
                await self.more.wait()
        return bytes(self.got)


@dataclass
class Wire:
    """A connection, its peer, and what was handed to the socket with one call."""

    tcp: DirectTcp
    peer: Peer
    calls: list[list[bytes]]


@dataclass(frozen=True)
class Kind:
    """Which event loop, and whether with TLS."""

    loop: str
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None


@asynccontextmanager
async def wired(kind: Kind, patch: pytest.MonkeyPatch, *, reads: bool = True) -> AsyncIterator[Wire]:
    calls: list[list[bytes]] = []
    put = DirectTcp._put

    def note(self: DirectTcp, frames: Sequence[bytes]) -> None:
        calls.append(list(frames))
        put(self, frames)

    peer = Peer()
    if reads:
        peer.reads.set()
    with socket.socket() as listening, patch.context() as noted:
        noted.setattr(DirectTcp, "_put", note)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
        listening.bind(("127.0.0.1", 0))
        server = await asyncio.start_server(peer.take, sock=listening, ssl=kind.tls[0] if kind.tls else None)
        where = urlparse(f"nats://127.0.0.1:{listening.getsockname()[1]}")
        wire = Wire(DirectTcp(lambda *message: None), peer, calls)
        await wire.tcp.connect(where, 64 * KIB, PATIENCE_S)
        if kind.tls:
            await wire.tcp.connect_tls("localhost", kind.tls[1], 64 * KIB, PATIENCE_S)
        try:
            yield wire
        finally:
            peer.reads.set()
            wire.tcp.close()
            for writer in (wire.tcp._io_writer, peer.writer):
                if writer is not None:
                    writer.transport.abort()
            server.close()
            await _turns(5)


async def _turns(count: int = 2) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _busy(wire: Wire) -> bytes:
    """Has the turn before this one write several; what they were."""
    wire.tcp.write(b"a,")
    wire.tcp.write(b"b,")
    await _turns()
    wire.calls.clear()
    return b"a,b,"


# ------------------------------------------------------------------ the checks


async def order_is_kept(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async with wired(kind, patch) as wire:
        sent = b""
        for turn in range(200):
            for number in range(turn % 5):
                frame = b"%d-%d," % (turn, number) * (1 + turn * number)
                sent += frame
                wire.tcp.write(frame)
            if turn % 7 == 0:
                wire.tcp.writelines([b"[%d]," % turn, b"!"])
                sent += b"[%d],!" % turn
            await _turns(1)
        assert await wire.peer.until(len(sent)) == sent


async def a_busy_turn_is_one_call(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async with wired(kind, patch) as wire:
        await _busy(wire)
        for number in range(5):
            wire.tcp.write(b"%d" % number)
        assert wire.calls == []
        await _turns()
        assert wire.calls == [[b"0", b"1", b"2", b"3", b"4"]]


async def one_alone_waits_for_nothing(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async with wired(kind, patch) as wire:
        for _ in range(3):
            wire.tcp.write(b"alone")
            assert wire.calls == [[b"alone"]]
            await _turns()
            wire.calls.clear()


async def draining_sends_what_is_gathered(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async with wired(kind, patch) as wire:
        await _busy(wire)
        wire.tcp.write(b"last")
        draining = wire.tcp.drain()
        with patch.context() as until_then:
            until_then.setattr(wire.tcp, "_end_turn", lambda: None)
            await draining
            assert [frame for call in wire.calls for frame in call] == [b"last"]


async def closing_sends_what_is_gathered(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async with wired(kind, patch) as wire:
        sent = await _busy(wire) + b"onetwo"
        wire.tcp.write(b"one")
        wire.tcp.write(b"two")
        wire.tcp.close()
        async with asyncio.timeout(PATIENCE_S):
            await wire.peer.ended.wait()
        assert bytes(wire.peer.got) == sent


async def no_more_is_gathered_than_the_bound(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async with wired(kind, patch) as wire:
        await _busy(wire)
        frame = b"x" * (KIB - 1)
        most = 0
        for _ in range(1000):
            wire.tcp.write(frame)
            most = max(most, wire.tcp._gathered_bytes)
        assert most < GATHERED_BYTES
        assert len(wire.calls) < 20
        await wire.peer.until(1000 * len(frame))


async def a_slow_reader_holds_the_writer_back(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    frame, most = b"y" * (16 * KIB), 2048
    async with wired(kind, patch, reads=False) as wire:
        sent = 0
        draining = None
        while draining is None and sent < most:
            wire.tcp.write(frame)
            sent += 1
            draining = asyncio.ensure_future(wire.tcp.drain())
            if (await asyncio.wait({draining}, timeout=QUIET_S))[0]:
                draining = None
        assert draining is not None, "it took 32 MiB that nobody read"
        wire.peer.reads.set()
        async with asyncio.timeout(PATIENCE_S):
            await draining
        assert await wire.peer.until(sent * len(frame)) == frame * sent


async def nothing_goes_to_a_connection_that_breaks(kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async with wired(kind, patch) as wire:
        await _busy(wire)
        wire.tcp.write(b"gathered")
        assert wire.tcp._io_writer is not None
        wire.tcp._io_writer.transport.abort()
        await _turns(5)
        wire.tcp.write(b"late")
        wire.tcp.write(b"later")
        await _turns()
        assert wire.tcp._gathered == []
        wire.tcp.close()


CHECKS = (
    order_is_kept,
    a_busy_turn_is_one_call,
    one_alone_waits_for_nothing,
    draining_sends_what_is_gathered,
    closing_sends_what_is_gathered,
    no_more_is_gathered_than_the_bound,
    a_slow_reader_holds_the_writer_back,
    nothing_goes_to_a_connection_that_breaks,
)
Check = Callable[[Kind, pytest.MonkeyPatch], Awaitable[None]]


def run(check: Check, kind: Kind, patch: pytest.MonkeyPatch) -> None:
    async def checked() -> None:
        await check(kind, patch)

    with asyncio.Runner(loop_factory=LOOPS[kind.loop]) as runner:
        runner.run(checked())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    folder, now = tmp_path_factory.mktemp("tls"), datetime.now(UTC)
    authority = new_authority("localhost", now)
    made = new_certificate(authority, Names(("localhost",), ("127.0.0.1",)), now)
    paths: list[Path] = []
    for name, content in (("certificate", made.certificate), ("key", made.key)):
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(paths[0], paths[1])
    return serves, ssl.create_default_context(cadata=authority.certificate.decode())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_holds(check: Check, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(check, Kind(loop), monkeypatch)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_holds_with_tls(
    check: Check, loop: str, tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(check, Kind(loop, tls), monkeypatch)


# ------------------------------------------------------------------ the tests of the tests

Patch = pytest.MonkeyPatch


def the_newest_first(patch: Patch) -> None:
    write = DirectTcp.write

    def before(self: DirectTcp, payload: bytes) -> None:
        if self._gathered:
            self._put([payload])
        else:
            write(self, payload)

    patch.setattr(DirectTcp, "write", before)


def each_by_itself(patch: Patch) -> None:
    patch.setattr(DirectTcp, "write", lambda self, payload: self._put([payload]))


def always_gathered(patch: Patch) -> None:
    end = DirectTcp._end_turn

    def many(self: DirectTcp) -> None:
        end(self)
        self._many = True

    patch.setattr(DirectTcp, "_end_turn", many)


def drains_only_the_socket(patch: Patch) -> None:
    patch.setattr(DirectTcp, "drain", TcpTransport.drain)


def closes_at_once(patch: Patch) -> None:
    patch.setattr(DirectTcp, "close", TcpTransport.close)


def without_bound(patch: Patch) -> None:
    patch.setattr(tcp, "GATHERED_BYTES", 1 << 30)


def never_held_back(patch: Patch) -> None:
    async def drain(self: DirectTcp) -> None:
        self.send()

    patch.setattr(DirectTcp, "drain", drain)


def writes_to_what_is_gone(patch: Patch) -> None:
    def put(self: DirectTcp, frames: Sequence[bytes]) -> None:
        assert self._io_writer is not None
        self._io_writer.writelines(frames)

    patch.setattr(DirectTcp, "_put", put)


MUTATIONS: tuple[tuple[Callable[[Patch], None], Check], ...] = (
    (the_newest_first, order_is_kept),
    (each_by_itself, a_busy_turn_is_one_call),
    (always_gathered, one_alone_waits_for_nothing),
    (drains_only_the_socket, draining_sends_what_is_gathered),
    (closes_at_once, closing_sends_what_is_gathered),
    (without_bound, no_more_is_gathered_than_the_bound),
    (never_held_back, a_slow_reader_holds_the_writer_back),
    (writes_to_what_is_gone, nothing_goes_to_a_connection_that_breaks),
)


@pytest.mark.parametrize(("take_away", "check"), MUTATIONS, ids=lambda given: given.__name__)
def test_the_check_notices(take_away: Callable[[Patch], None], check: Check, monkeypatch: Patch) -> None:
    def _ignore(*args: Any) -> None: ...

    async def unwatched(kind: Kind, patch: Patch) -> None:
        asyncio.get_running_loop().set_exception_handler(_ignore)
        await check(kind, patch)

    take_away(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        run(unwatched, Kind("uvloop"), monkeypatch)
