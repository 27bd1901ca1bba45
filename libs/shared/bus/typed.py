"""Contracts on top of a transport: what both implementations of the bus share."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any, Generic, TypeVar

from libs.shared.bus.calls import Calls, header_block
from libs.shared.bus.endpoints import Endpoint, EndpointStats, log
from libs.shared.bus.inbox import Inbox
from libs.shared.bus.lanes import Lane, Tasks
from libs.shared.bus.parts import Upload
from libs.shared.bus.rpc_server import RpcServer
from libs.shared.bus.stream_call import StreamCall
from libs.shared.bus.stream_server import StreamServer
from libs.shared.bus.tracing import client_span, server_span
from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import PART_BYTES, Incoming, decode, decode_reply, encode
from libs.shared.contracts.base import FLOW, Broadcast, Message, Rpc, Stream
from libs.shared.errors import InvalidRequest, Unavailable

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
M = TypeVar("M", bound=Message)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
WIDTH = 128
"""Requests of one subject that run at the same time."""
BACKLOG = 1024
"""Requests of one subject that may wait; further ones are answered ``overloaded``."""
CANCEL_TIMEOUT_S = 2.0
"""What a handler has for its clean-up when a drain has run out of patience."""


class TypedConversations:
    """Rpc, Stream and Broadcast of the Bus protocol."""

    def __init__(self, transport: Transport, *, width: int = WIDTH, backlog: int = BACKLOG) -> None:
        self._transport = transport
        self._width = width
        self._backlog = backlog
        self._inbox = Inbox(transport)
        self._calls = Calls(transport, self._inbox)
        self._tasks = Tasks()
        self._endpoints: dict[str, Endpoint] = {}
        self._taking: list[int] = []
        """Subscriptions that bring new work: the first to go in a drain."""
        self._draining = False

    @property
    def connected(self) -> bool:
        return self._transport.connected

    @property
    def stopping(self) -> bool:
        return self._draining

    @property
    def endpoints(self) -> tuple[EndpointStats, ...]:
        """Every served subject, for the service registration."""
        return tuple(endpoint.stats for endpoint in self._endpoints.values())

    async def request(self, rpc: Rpc[Q, R], message: Q, *, timeout_s: float | None = None, **where: str) -> R:
        subject = _subject(rpc, where)
        with client_span(subject):
            incoming = await self._calls.exchange(
                subject,
                encode(message, rpc.max_bytes),
                timeout_s=rpc.timeout_s if timeout_s is None else timeout_s,
                limit=rpc.max_bytes,
            )
            return decode_reply(rpc.reply, incoming.body)

    def stream(
        self, contract: Stream[Q, R], message: Q, *, first_timeout_s: float | None = None, **where: str
    ) -> AbstractAsyncContextManager[AsyncIterator[R]]:
        return _Asked(self, contract, message, first_timeout_s, where)

    async def open_stream(
        self, contract: Stream[Any, R], subject: str, message: Message, first_timeout_s: float | None
    ) -> StreamCall[R]:
        """Asks for a stream; ``leave_stream`` has to follow."""
        first = contract.first_timeout_s if first_timeout_s is None else first_timeout_s
        body = encode(message, contract.max_bytes)
        if not self._transport.connected:
            await self._transport.wait_connected(first)
        call = StreamCall(self._transport, contract, subject, subject + FLOW, first)
        call.reply = self._inbox.enter(call)
        try:
            self._begin(call, body)
            if len(body) > PART_BYTES:
                await self._transport.relieve()
        except BaseException:
            self.leave_stream(call)
            raise
        return call

    def leave_stream(self, call: StreamCall[Any]) -> None:
        """Ends it; a server that is still at work is told to stop."""
        call.leave()
        self._inbox.leave(call.reply)

    def _begin(self, call: StreamCall[Any], body: bytes) -> None:
        if len(body) <= PART_BYTES:
            headers = header_block({})
            call.send = lambda: self._transport.publish(call.subject, body, reply=call.reply, headers=headers)
            call.send()
        else:
            call.upload = upload = Upload(self._transport, call.subject, call.reply, body)
            headers = header_block(upload.announcement())
            self._transport.publish(call.subject, b"", reply=call.reply, headers=headers)
            upload.start(call.fail)
        call.begin()

    async def broadcast(self, contract: Broadcast[M], message: M) -> None:
        if not self._transport.connected:
            raise Unavailable("the broker is away")
        self._transport.publish(contract.subject, encode(message, contract.max_bytes), headers=header_block({}))
        await self._transport.relieve()

    async def serve(self, contract: Rpc[Q, R], handler: Callable[[Q], Awaitable[R]], **where: str) -> None:
        endpoint = self._endpoint(contract, where)
        server = RpcServer(endpoint, contract, handler)
        self._taking += await endpoint.open(server.on_request)

    async def serve_stream(
        self, contract: Stream[Q, R], handler: Callable[[Q], AsyncIterator[R]], **where: str
    ) -> None:
        endpoint = self._endpoint(contract, where)
        server = StreamServer(endpoint, self._inbox, contract, handler)
        # credit and cancellation go on while a drain finishes what is in flight, so this one is not in _taking
        await self._transport.subscribe(contract.flow_subject_at(**where), server.on_flow)
        self._taking += await endpoint.open(server.on_request)

    async def subscribe(self, contract: Broadcast[M], handler: Callable[[M], Awaitable[None]]) -> None:
        lane = Lane(self._tasks, 1, self._backlog)
        name = contract.endpoint_name

        async def hear(incoming: Incoming) -> None:
            with server_span(name, incoming):
                try:
                    await handler(decode(contract.message, incoming.body))
                except InvalidRequest as error:
                    log.warning("broadcast_not_understood", endpoint=name, errors=error.data.get("errors"))
                except Exception as error:
                    log.error("handler_failed", endpoint=name, exc_info=error)

        def heard(incoming: Incoming) -> None:
            # broadcasts are lossy: with a full queue the newest is lost here rather than everything late
            if incoming.subject == contract.subject:
                lane.offer(lambda: hear(incoming))

        self._taking.append(await self._transport.subscribe(contract.subject, heard))

    async def drain(self, timeout_s: float) -> None:
        """Stops taking work, finishes what is in flight within ``timeout_s``, closes."""
        await self.finish(timeout_s)
        await self.close()

    async def finish(self, timeout_s: float) -> None:
        """The first half of a drain: takes nothing more and finishes what is in flight; requests can still be made."""
        if self._draining:
            return
        self._draining = True
        if self._transport.connected:
            await self._stop_taking()
        if not await self._tasks.finish(timeout_s):
            log.warning("drain_cut_short", unfinished=len(self._tasks))
            await self._tasks.cancel(CANCEL_TIMEOUT_S)

    async def close(self) -> None:
        """The second half: whoever still waits for a reply hears ``unavailable``, and nothing goes on."""
        await self._tasks.cancel(CANCEL_TIMEOUT_S)
        self._inbox.fail_all(Unavailable("this service is stopping"))
        await self._transport.close()

    def on_stop_taking(self, *subscriptions: int) -> None:
        """Subscriptions made elsewhere that a drain ends first."""
        self._taking += subscriptions

    async def _stop_taking(self) -> None:
        try:
            await self._transport.unsubscribe(*self._taking)
        except Unavailable:
            log.warning("drain_without_broker")

    def _endpoint(self, contract: Rpc[Any, Any] | Stream[Any, Any], where: dict[str, str]) -> Endpoint:
        subject = _subject(contract, where)
        if subject in self._endpoints:
            raise ValueError(f"{subject} is served already")
        lane = Lane(self._tasks, self._width, self._backlog)
        endpoint = self._endpoints[subject] = Endpoint(self._transport, contract, subject, lane)
        return endpoint


class _Asked(AbstractAsyncContextManager[AsyncIterator[R]], Generic[R]):
    """A stream while its block lasts. No generator function: those cost a tenth of a request that is alone."""

    __slots__ = ("_bus", "_call", "_contract", "_first_timeout_s", "_message", "_span", "_where")

    def __init__(
        self,
        bus: TypedConversations,
        contract: Stream[Any, R],
        message: Message,
        first_timeout_s: float | None,
        where: dict[str, str],
    ) -> None:
        self._bus = bus
        self._contract = contract
        self._message = message
        self._first_timeout_s = first_timeout_s
        self._where = where
        self._span: AbstractContextManager[None]
        self._call: StreamCall[R]

    async def __aenter__(self) -> AsyncIterator[R]:
        subject = _subject(self._contract, self._where)
        self._span = client_span(subject)
        self._span.__enter__()
        try:
            self._call = await self._bus.open_stream(self._contract, subject, self._message, self._first_timeout_s)
        except BaseException as error:
            self._span.__exit__(type(error), error, error.__traceback__)
            raise
        return self._call

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus.leave_stream(self._call)
        self._span.__exit__(kind, error, trace)


def _subject(contract: Rpc[Any, Any] | Stream[Any, Any], where: dict[str, str]) -> str:
    """The concrete subject. Raises InvalidRequest for a parameter that is no single token."""
    return _filled(contract.subject, tuple(where.items())) if where else contract.subject


@lru_cache(maxsize=1024)
def _filled(subject: str, where: tuple[tuple[str, str], ...]) -> str:
    for _, value in where:
        if not _TOKEN.fullmatch(value):
            raise InvalidRequest("a subject's parameter must be one token", field="where")
    return subject.format(**dict(where))
