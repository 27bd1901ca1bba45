"""Where other machines come in: over TLS, to the broker on loopback, or with an invitation to become a node."""

from __future__ import annotations

import asyncio
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
from libs.shared.bus.connection import node_protocol

Ask = Callable[[Enrol], Awaitable[Welcome | Refusal]]
_ASKED: TypeAdapter[Hello | Enrol] = TypeAdapter(Annotated[Hello | Enrol, Field(discriminator="ask")])
say = partial(say_of, part="entrance")
_HANDSHAKE_S = 10.0
_ASK_S = 10.0
_COMPLAIN_EVERY_S = 60.0
_PIECE_BYTES = 64 * 1024
_MOST_CONNECTIONS = 256
_COUNTED = ("invitation", "malformed")
"""Refusals that a stranger who guesses would get."""


class Entrance:
    """One listening socket. ``broker`` is the port on loopback to which nodes are let through."""

    def __init__(self, context: ssl.SSLContext, broker: int, greeting: Greeting, enrol: Ask) -> None:
        self._context = context
        self._broker = broker
        self._greeting = greeting
        self._enrol = enrol
        self._attempts = Attempts()
        self._open = 0
        self._node_protocol = node_protocol(greeting.version)
        self._complained_at = -_COMPLAIN_EVERY_S

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Raises OSError where it can't."""
        self._context.set_alpn_protocols([ALPN, self._node_protocol])
        return await asyncio.start_server(
            self._come_in, host, port, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE_S, limit=LONGEST_LINE
        )

    async def _come_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            tls = writer.get_extra_info("ssl_object")
            match tls.selected_alpn_protocol():
                case protocol if protocol == ALPN:
                    await self._converse(reader, writer)
                case protocol if protocol == self._node_protocol:
                    await self._let_through(reader, writer)
                case _:
                    self._complain()
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            return  # whoever came is gone, or sent no line
        finally:
            self._open -= 1
            writer.close()

    def _complain(self) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            say("another_version_kept_out", level="warning", wanted=self._greeting.version)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_ASK_S):
            line = await reader.readline()
        answer = await self._answer(line, str(writer.get_extra_info("peername")[0]))
        async with asyncio.timeout(_ASK_S):
            writer.write(answer.model_dump_json().encode() + b"\n")
            await writer.drain()

    async def _answer(self, line: bytes, address: str) -> Greeting | Welcome | Refusal:
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
