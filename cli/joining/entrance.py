"""Where other machines come in: over TLS, to the broker on loopback, or with an invitation to become a node."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from cli.caretaker.saying import say as say_of
from cli.joining.attempts import Attempts
from cli.joining.protocol import ALPN, LONGEST_LINE, Enrol, Greeting, Hello, Refusal, Welcome
from cli.joining.strangers import Strangers, house
from libs.shared.bus.connection import node_protocol

Ask = Callable[[Enrol], Awaitable[Welcome | Refusal]]
_ASKED: TypeAdapter[Hello | Enrol] = TypeAdapter(Annotated[Hello | Enrol, Field(discriminator="ask")])
say = partial(say_of, part="entrance")
_HANDSHAKE_S = 4.0
_ASK_S = 5.0
_GOODBYE_S = 2.0
_KNOWN_S = 5.0
"""Whom the broker has kept so long it knows: after 2 s it sends away who hasn't signed with a key."""
_BREATHE_S = 0.1
_BACKLOG = 128
_COMPLAIN_EVERY_S = 60.0
_PIECE_BYTES = 64 * 1024
_COUNTED = ("invitation", "malformed")
"""Refusals that a stranger who guesses would get."""


class Listening:
    """An open entrance. Closed, it lets nobody in, and puts out who is inside."""

    def __init__(self, where: socket.socket, receiving: asyncio.Task[None]) -> None:
        self._where = where
        self._receiving = receiving

    @property
    def broken(self) -> bool:
        """Whether it ended by itself."""
        return self._receiving.done()

    async def close(self) -> None:
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)
        self._where.close()


class Entrance:
    """One listening socket. ``broker`` is the port on loopback to which nodes are let through; ``invited`` says whether
    a secret is that of an open invitation."""

    def __init__(
        self, context: ssl.SSLContext, broker: int, greeting: Greeting, enrol: Ask, *, invited: Callable[[Enrol], bool]
    ) -> None:
        self._broker = broker
        self._enrol = enrol
        self._invited = invited
        self._attempts = Attempts()
        self._strangers: Strangers[asyncio.Task[None]] = Strangers()
        self._complained_at = -_COMPLAIN_EVERY_S
        self.show(context, greeting)

    def show(self, context: ssl.SSLContext, greeting: Greeting) -> None:
        """To whoever comes from now on; who is inside stays."""
        self._greeting = greeting
        self._node_protocol = node_protocol(greeting.version)
        context.set_alpn_protocols([ALPN, self._node_protocol])
        self._context = context

    async def listen(self, host: str, port: int) -> Listening:
        """Raises OSError where it can't."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        both = host == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
        listening.setblocking(False)
        return Listening(listening, asyncio.create_task(self._receive(listening)))

    async def _receive(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as guests:
            while True:
                try:
                    connection, (address, *_) = await loop.sock_accept(listening)
                except OSError as error:  # too many open files
                    say("nobody_taken_in", level="warning", reason=type(error).__name__)
                    await asyncio.sleep(_BREATHE_S)
                    continue
                if self._strangers.has_room(address):
                    guest = guests.create_task(self._welcome(connection, address))
                    if (slow := self._strangers.come(guest, address)) is not None:
                        slow.cancel()
                else:
                    connection.close()
                await asyncio.sleep(0)  # the guest has begun before it can be told to go

    async def _welcome(self, connection: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        protocol = asyncio.StreamReaderProtocol(reader)
        guest = asyncio.current_task()
        assert guest is not None
        writer: asyncio.StreamWriter | None = None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=_HANDSHAKE_S,
                ssl_shutdown_timeout=_GOODBYE_S,
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await self._come_in(reader, writer, address, guest)
            writer.close()
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            return  # whoever came is gone, or sent no line
        except Exception as error:  # one guest must not end the others
            say("guest_failed", level="error", reason=type(error).__name__)
        finally:
            self._strangers.leave(guest)
            if writer is not None and not writer.is_closing():
                writer.transport.abort()

    async def _come_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, guest: asyncio.Task[None]
    ) -> None:
        match writer.get_extra_info("ssl_object").selected_alpn_protocol():
            case protocol if protocol == ALPN:
                await self._converse(reader, writer, address, guest)
            case protocol if protocol == self._node_protocol:
                known = asyncio.get_running_loop().call_later(_KNOWN_S, self._strangers.leave, guest)
                try:
                    await self._let_through(reader, writer)
                finally:
                    known.cancel()
            case _:
                self._complain()

    def _complain(self) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            say("another_version_kept_out", level="warning", wanted=self._greeting.version)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, guest: asyncio.Task[None]
    ) -> None:
        async with asyncio.timeout(_ASK_S):
            line = await reader.readline()
        answer = await self._answer(line, house(address), guest)
        async with asyncio.timeout(_ASK_S):
            writer.write(answer.model_dump_json().encode() + b"\n")
            await writer.drain()

    async def _answer(self, line: bytes, address: str, guest: asyncio.Task[None]) -> Greeting | Welcome | Refusal:
        try:
            asked = _ASKED.validate_json(line)
        except ValidationError:
            self._attempts.failed(address, time.monotonic())
            return Refusal(refused="malformed", detail="that was no question of this kind")
        if isinstance(asked, Hello):
            return self._greeting
        wait_s = self._attempts.wait_s(address, time.monotonic())
        if wait_s > 0:
            return Refusal(
                refused="too_many", detail=f"too many failures from this address: try again in {wait_s:.0f} s"
            )
        if self._invited(asked):  # no stranger any more: it has to hear that its code is used up
            self._strangers.leave(guest)
        answer = await self._enrol(asked)
        if isinstance(answer, Refusal):
            say("node_refused", reason=answer.refused)
            if answer.refused in _COUNTED:
                self._attempts.failed(address, time.monotonic())
        else:
            say("node_joined", node_id=answer.node_id)
        return answer

    async def _let_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes both ways, until either side is done; who may do what is for the broker to say."""
        inside, to_broker = await asyncio.open_connection("127.0.0.1", self._broker)
        try:
            pumps = {asyncio.create_task(_pump(reader, to_broker)), asyncio.create_task(_pump(inside, writer))}
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            to_broker.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
