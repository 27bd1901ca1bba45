"""The connection to a broker, plain or with TLS: messages straight from the socket, and one call for a turn's writes.

nats-py reads into a stream, from which a task of its own takes bytes for the parser. Here the parser sits where the
socket's bytes arrive (``frames.py``), and nats-py's task and parser see everything that is no message.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from urllib.parse import ParseResult

from libs.shared.bus.frames import Frames, OnFrame
from libs.shared.bus.slim_nats import TcpTransport

GATHERED_BYTES = 64 * 1024
"""So much is sent without waiting for the end of the turn."""


class _Protocol(asyncio.StreamReaderProtocol):
    """A stream that the messages don't go through."""

    def __init__(self, reader: asyncio.StreamReader, on_frame: OnFrame) -> None:
        super().__init__(reader)
        self._frames = Frames(on_frame)

    def data_received(self, data: bytes) -> None:
        if others := self._frames.feed(data):
            super().data_received(others)


class DirectTcp(TcpTransport):
    """One connection, to be made once.

    A message that is alone in its turn of the event loop is written at once. While turns have several, they wait for
    their turn's end and are sent with one call, in their order; uvloop would make one call of each.
    """

    def __init__(self, on_frame: OnFrame) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._written = 0
        """Frames of this turn."""
        self._many = False
        """Whether the turn before had several."""

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        reader, protocol = self._streams(buffer_size)
        assert uri.hostname is not None
        assert uri.port is not None
        connecting = self._loop.create_connection(lambda: protocol, uri.hostname, uri.port)
        transport, _ = await asyncio.wait_for(connecting, connect_timeout)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        assert self._io_writer is not None
        reader, protocol = self._streams(buffer_size)
        bare = self._io_writer.transport
        name = uri if isinstance(uri, str) else uri.hostname
        starting = self._loop.start_tls(bare, protocol, ssl_context, server_hostname=name)
        transport = await asyncio.wait_for(starting, connect_timeout)
        assert transport is not None
        self._io_reader, self._io_writer = reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    def write(self, payload: bytes) -> None:
        self._written += 1
        if self._written == 1:
            self._loop.call_soon(self._end_turn)
            if not self._many:
                self._put([payload])
                return
        self._gathered.append(payload)
        self._gathered_bytes += len(payload)
        if self._gathered_bytes >= GATHERED_BYTES:
            self.send()

    def writelines(self, payload: Sequence[bytes]) -> None:
        self.send()
        self._put(payload)

    def send(self) -> None:
        """Sends now what was gathered."""
        if self._gathered:
            gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._put(gathered)

    async def drain(self) -> None:
        self.send()
        await super().drain()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.send()
        super().close()  # type: ignore[no-untyped-call]

    def _streams(self, limit: int) -> tuple[asyncio.StreamReader, _Protocol]:
        reader = asyncio.StreamReader(limit, self._loop)
        return reader, _Protocol(reader, self._on_frame)

    def _end_turn(self) -> None:
        self._many = self._written > 1
        self._written = 0
        self.send()

    def _put(self, frames: Sequence[bytes]) -> None:
        """Nothing more goes to a connection that is breaking: whoever waits for an answer is about to hear of it."""
        writer = self._io_writer
        if frames and writer is not None and not writer.is_closing():
            if len(frames) == 1:
                writer.write(frames[0])
            else:
                writer.writelines(frames)
