"""The server's side of a stream: sends within the caller's credit, and stops at once when the caller is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from time import perf_counter_ns
from typing import Any

from libs.shared.bus.calls import NO_RESPONDERS
from libs.shared.bus.endpoints import Endpoint, told
from libs.shared.bus.flow import END, MORE, PART, Flow
from libs.shared.bus.inbox import Inbox
from libs.shared.bus.tracing import mark_failed, server_span
from libs.shared.bus.wire import (
    ALIVE,
    CHUNK,
    ERROR,
    ERROR_CODE,
    Incoming,
    block,
    decode,
    encode,
    encode_error,
    parts_of,
)
from libs.shared.contracts.base import Message, Stream
from libs.shared.errors import Cancelled, InvalidRequest, ServiceError, TimedOut, Unavailable

SIGN_EVERY_S = 1.0
_ALIVE = block({ALIVE: "1"})
Handler = Callable[[Any], AsyncIterator[Message]]


class StreamReply:
    """One stream on its way out. It is also the receiver of the broker's word that nobody hears it."""

    def __init__(self, endpoint: Endpoint, inbox: Inbox, contract: Stream[Any, Any], reply: str) -> None:
        self.subject = reply
        self.task: asyncio.Task[Any] | None = None
        self.caller_left = False
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._inbox = inbox
        self._idle_timeout_s = contract.idle_timeout_s
        self._loop = asyncio.get_running_loop()
        self._credit = contract.window
        self._more_credit: asyncio.Future[None] | None = None
        self._number = 0
        self._held: bytes | None = None
        self._back = inbox.enter(self)
        self._sent_at = self._loop.time()

    async def send(self, body: bytes) -> None:
        """Sends one chunk when there is credit. Raises TimedOut when the caller takes nothing for too long.

        The last piece is held until the event loop comes round: a handler that ends right after it has its chunk and
        its end in one message.
        """
        self._send_held()
        *pieces, last = parts_of(body)
        for piece in pieces:
            await self._take_credit()
            self._publish(piece, PART)
            await self._transport.relieve()
        await self._take_credit()
        self._held = last
        self._loop.call_soon(self._send_held)

    def end(self, error: ServiceError | None = None) -> None:
        """The last message: the held chunk, nothing, or a refusal."""
        if self.caller_left:
            return
        if error is None:
            held, self._held = self._held or b"", None
            self._publish(held, END)
            return
        self._send_held()
        headers = {CHUNK: f"{self._number} {END}", ERROR: error.code, ERROR_CODE: str(error.status)}
        self._transport.publish(self.subject, encode_error(error), headers=block(headers))

    def close(self) -> None:
        self._inbox.leave(self._back)
        self._held = None

    def feed(self, incoming: Incoming) -> None:
        """What comes back on a chunk can only be the broker: the caller's inbox is gone."""
        if incoming.status == NO_RESPONDERS:
            self.leave()

    def fail(self, error: ServiceError) -> None:
        """The connection broke: the caller will have noticed too, or will miss a chunk."""
        self.leave()

    def leave(self) -> None:
        """The caller wants no more of it."""
        self.caller_left = True
        if self.task is not None:
            self.task.cancel()

    def credit(self, count: int) -> None:
        self._credit += count
        if self._more_credit is not None and not self._more_credit.done():
            self._more_credit.set_result(None)

    def say_alive(self) -> None:
        if self._transport.connected:
            self._transport.publish(self.subject, b"", reply=self._back, headers=_ALIVE)

    def give_sign(self) -> None:
        """In a long silence the caller hears that work goes on, and the broker says when there is no caller left."""
        if self._loop.time() - self._sent_at >= SIGN_EVERY_S / 2:
            self.say_alive()

    def _publish(self, body: bytes, kind: str) -> None:
        headers = b"NATS/1.0\r\n%b: %d %b\r\n\r\n" % (CHUNK.encode(), self._number, kind.encode())
        self._transport.publish(self.subject, body, reply=self._back, headers=headers)
        self._number += 1
        self._sent_at = self._loop.time()

    def _send_held(self) -> None:
        if self._held is not None and self._transport.connected:
            held, self._held = self._held, None
            self._publish(held, MORE)

    async def _take_credit(self) -> None:
        while self._credit <= 0:
            self._more_credit = self._loop.create_future()
            try:
                async with asyncio.timeout(self._idle_timeout_s):
                    await self._more_credit
            except TimeoutError:
                raise TimedOut("the caller stopped taking the answer") from None
            finally:
                self._more_credit = None
        self._credit -= 1


class StreamServer:
    """Answers every message of its subject with a stream, concurrently."""

    def __init__(self, endpoint: Endpoint, inbox: Inbox, contract: Stream[Any, Any], handler: Handler) -> None:
        self._endpoint = endpoint
        self._inbox = inbox
        self._contract = contract
        self._handler = handler
        self._streams: dict[str, StreamReply] = {}
        self._signs: asyncio.TimerHandle | None = None
        """One for all streams, which are too many and mostly too short to have one each."""

    def on_request(self, incoming: Incoming) -> None:
        out = StreamReply(self._endpoint, self._inbox, self._contract, incoming.reply)
        # known before it starts, so that a cancellation finds it while it waits
        self._streams[incoming.reply] = out
        if self._signs is None:
            self._give_signs_later()
        if not self._endpoint.lane.offer(partial(self._answer, incoming, out)):
            self._forget(out)
            self._endpoint.refuse_overload(incoming.reply)

    def on_flow(self, incoming: Incoming) -> None:
        """Every instance hears the flow of all streams and minds its own."""
        try:
            flow = decode(Flow, incoming.body)
        except InvalidRequest:
            return
        out = self._streams.get(flow.stream)
        if out is None:
            return
        if flow.cancel:
            out.leave()
        elif flow.credit > 0:
            out.credit(flow.credit)
        else:
            out.say_alive()

    async def _answer(self, incoming: Incoming, out: StreamReply) -> None:
        started = perf_counter_ns()
        failed: ServiceError | None = None
        try:
            with server_span(self._endpoint.stats.name, incoming) as span:
                failed = await self._run(incoming, out)
                if failed is not None:
                    mark_failed(span, failed.code)
        finally:
            self._forget(out)
            self._endpoint.stats.count(started, failed.code if failed else None)

    async def _run(self, incoming: Incoming, out: StreamReply) -> ServiceError | None:
        """The refusal with which it ended, None when it went well or the caller left."""
        out.task = asyncio.current_task()
        if out.caller_left:
            return None
        try:
            await self._stream(incoming, out)
            return None
        except asyncio.CancelledError:
            if out.caller_left:
                return None
            self._refuse(out, Cancelled("the service is stopping"))
            raise
        except Exception as error:
            failed = told(error, self._endpoint.stats.name)
            self._refuse(out, failed)
            return failed

    async def _stream(self, incoming: Incoming, out: StreamReply) -> None:
        request = decode(self._contract.request, await self._endpoint.body_of(incoming))
        chunks = self._handler(request)
        # a handler is an async generator; closing it runs its finally blocks here and now, not at collection
        async with aclosing(chunks) as open_chunks:  # type: ignore[type-var]
            async for chunk in open_chunks:
                await out.send(encode(chunk, self._contract.max_bytes))
        out.end()

    def _refuse(self, out: StreamReply, error: ServiceError) -> None:
        try:
            out.end(error)
        except Unavailable:
            # the broker is away: the caller learns of it from its own connection
            return

    def _give_signs_later(self) -> None:
        self._signs = asyncio.get_running_loop().call_later(SIGN_EVERY_S, self._give_signs)

    def _give_signs(self) -> None:
        self._signs = None
        try:
            for out in tuple(self._streams.values()):
                out.give_sign()
        finally:
            if self._streams:
                self._give_signs_later()

    def _forget(self, out: StreamReply) -> None:
        out.close()
        self._streams.pop(out.subject, None)
