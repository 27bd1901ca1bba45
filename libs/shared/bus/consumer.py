"""One pull consumer: messages are handled, acknowledged after that, and asked for again when handling failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from opentelemetry.trace import SpanKind

from libs.shared.bus.base import Delivery, Poison
from libs.shared.bus.endpoints import log
from libs.shared.bus.jetstream import API, CaughtUp, Epochs, JetStreamApi, Refused
from libs.shared.bus.lanes import Lane, Tasks
from libs.shared.bus.tracing import server_span
from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import MESSAGE_ID, Incoming, decode
from libs.shared.contracts.base import Consumer, Event, Message
from libs.shared.contracts.common import Position
from libs.shared.errors import InvalidRequest, ServiceError

M = TypeVar("M", bound=Message)

ACK, IN_PROGRESS, NAK = b"+ACK", b"+WPI", b"-NAK"
PULL_EXPIRES_S = 5.0
_PULL_SLACK_S = 1.0
_PAUSE_S = 0.1
_BATCH = 64
_CAUGHT_UP_AFTER_S = 0.5
FULL_S = 1.0
"""How long a message rests for which there is no room here."""
BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Pause before each further delivery; the last repeats."""


def backoff_s(attempt: int, consumer: Consumer) -> float:
    """How long a message rests after its ``attempt``-th delivery failed: where order is kept, and everything behind it
    waits as well, no longer than one whose handler died."""
    rest_s = BACKOFF_S[min(attempt, len(BACKOFF_S)) - 1]
    return min(rest_s, consumer.ack_wait_s) if consumer.max_ack_pending == 1 else rest_s


class PulledMessage:
    """What its reply subject tells: ``$JS.ACK.<stream>.<consumer>.<attempt>.<sequence>.<…>.<time>.<pending>``."""

    __slots__ = ("attempt", "incoming", "key", "pending", "sequence")

    def __init__(self, incoming: Incoming) -> None:
        fields = incoming.reply.split(".")
        if len(fields) > 9:
            # with a domain there are two more fields in front and one behind
            fields = [*fields[:2], *fields[4:]]
        self.incoming = incoming
        self.attempt = int(fields[4])
        self.sequence = int(fields[5])
        self.key = (self.sequence, fields[7])
        """Which message it is, also of another life of the stream: its place there and its time."""
        self.pending = int(fields[8])
        """How many are still to come after this one."""

    def again(self, newer: PulledMessage) -> None:
        """The same message was delivered once more: the answer goes to the newest delivery."""
        self.incoming = newer.incoming
        self.pending = newer.pending


@dataclass(frozen=True)
class Handlers(Generic[M]):
    """What a service does with deliveries; both implementations of the bus take it."""

    handle: Callable[[Delivery[M]], Awaitable[None]]
    caught_up: CaughtUp | None
    poison: Callable[[Poison], Awaitable[None]] | None

    async def give(self, event: Event[M], consumer: Consumer, body: bytes, about: About) -> None:
        """Decodes and delivers. Returning means that the message is done with."""
        try:
            message = decode(event.message, body)
        except InvalidRequest as error:
            log.error("event_not_understood", consumer=consumer.name, errors=error.data.get("errors"))
            if self.poison is not None:
                await self.poison(Poison(body, about.message_id, about.position))
            return
        last = about.attempt >= consumer.max_deliver
        await self.handle(Delivery(message, about.message_id, about.position, about.attempt, last))


@dataclass(frozen=True)
class About:
    """Where a message stands, and how often it was tried."""

    message_id: str
    position: Position
    attempt: int


class PullConsumer(Generic[M]):
    """Keeps one pull open, and hands what comes to the handler."""

    def __init__(
        self,
        transport: Transport,
        api: JetStreamApi,
        epochs: Epochs,
        event: Event[M],
        consumer: Consumer,
        handlers: Handlers[M],
        tasks: Tasks,
        width: int,
    ) -> None:
        self._transport = transport
        self._api = api
        self._epochs = epochs
        self._event = event
        self._consumer = consumer
        self._handlers = handlers
        self._tasks = tasks
        self._inbox = f"{transport.inbox}.pull.{consumer.name}"
        # the stream itself bounds what waits here: it delivers no more than max_ack_pending
        self._lane = Lane(tasks, width, consumer.max_ack_pending + _BATCH)
        self._wanted = 0
        self._ended = asyncio.Event()
        self._stopping = False
        self._telling: asyncio.Task[None] | None = None
        self._held: dict[tuple[int, str], PulledMessage] = {}
        """What is handled or waits to be, which the stream is told now and then."""
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Gives the number of the subscription: without it the stream sends nothing more."""
        number = await self._transport.subscribe(self._inbox, self._received)
        self._tasks.start(self._run())
        return number

    def stop(self) -> None:
        """Takes nothing more; what was fetched and not begun goes back to the stream."""
        self._stopping = True
        self._ended.set()

    def pull_again(self) -> None:
        """The open pull is gone, with the connection."""
        self._ended.set()

    # ------------------------------------------------------------------ fetching

    async def _run(self) -> None:
        while not self._stopping:
            await self._tell_caught_up()
            try:
                await self._pull_once()
            except TimeoutError:
                log.debug("pull_unanswered", consumer=self._consumer.name)
            except ServiceError:
                await asyncio.sleep(_PAUSE_S)

    async def _pull_once(self) -> None:
        """Returns when the pull has run out, or has brought all it asked for."""
        await self._transport.wait_connected(PULL_EXPIRES_S)
        self._ended.clear()
        if self._stopping:
            return
        self._wanted = _BATCH
        body = json.dumps({"batch": _BATCH, "expires": int(PULL_EXPIRES_S * 1e9)}).encode()
        self._transport.publish(
            f"{API}.CONSUMER.MSG.NEXT.{self._event.stream.name}.{self._consumer.name}", body, reply=self._inbox
        )
        async with asyncio.timeout(PULL_EXPIRES_S + _PULL_SLACK_S):
            await self._ended.wait()

    def _received(self, incoming: Incoming) -> None:
        if incoming.status or not incoming.reply:
            self._ended.set()
            return
        pulled = PulledMessage(incoming)
        if incoming.subject != self._event.subject:
            log.error("event_of_another_subject", consumer=self._consumer.name)
            return
        self._wanted -= 1
        self._take(pulled)
        if self._wanted <= 0:
            self._ended.set()

    def _take(self, pulled: PulledMessage) -> None:
        if self._stopping:
            self._answer(pulled, NAK)
        elif (held := self._held.get(pulled.key)) is not None:
            held.again(pulled)
        elif self._lane.offer(partial(self._handle, pulled)):
            self._held[pulled.key] = pulled
            if self._keeping is None:
                self._keeping = self._tasks.start(self._keep_claimed())
        else:
            self._answer(pulled, _later(FULL_S))

    def _soon_caught_up(self) -> None:
        """A little later, so that a lively stream isn't asked about after every message."""
        if self._handlers.caught_up is not None and self._telling is None and not self._stopping:
            self._telling = self._tasks.start(self._tell_later())

    async def _tell_later(self) -> None:
        try:
            async with asyncio.timeout(_CAUGHT_UP_AFTER_S):
                await self._ended.wait()
        except TimeoutError:
            await self._tell_caught_up()
        finally:
            self._telling = None

    async def _tell_caught_up(self) -> None:
        """Only when nothing is pending after the stream's end was read: then all before that end is done."""
        if self._handlers.caught_up is None:
            return
        try:
            end = await self._epochs.last(self._event.stream.name)
            state = await self._api.ask(f"CONSUMER.INFO.{self._event.stream.name}.{self._consumer.name}")
            if state["num_pending"] == 0 and state["num_ack_pending"] == 0:
                await self._handlers.caught_up(end)
        except (ServiceError, Refused) as error:
            log.debug("stream_not_told", consumer=self._consumer.name, reason=type(error).__name__)
        except Exception as error:
            log.error("handler_failed", endpoint=self._consumer.name, exc_info=error)

    # ------------------------------------------------------------------ handling

    async def _handle(self, pulled: PulledMessage) -> None:
        try:
            if self._stopping:
                self._answer(pulled, NAK)
            else:
                await self._handle_held(pulled)
        finally:
            self._let_go(pulled)

    def _let_go(self, pulled: PulledMessage) -> None:
        self._held.pop(pulled.key, None)
        if not self._held and self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None

    async def _handle_held(self, pulled: PulledMessage) -> None:
        try:
            await self._deliver(pulled)
            self._answer(pulled, ACK)
            if pulled.pending == 0:
                self._soon_caught_up()
        except asyncio.CancelledError:
            self._answer(pulled, NAK)
            raise
        except Exception as error:
            expected = isinstance(error, ServiceError)
            log.warning(
                "event_not_handled",
                consumer=self._consumer.name,
                attempt=pulled.attempt,
                code=error.code if isinstance(error, ServiceError) else "internal",
                exc_info=None if expected else error,
            )
            self._answer(pulled, _later(backoff_s(pulled.attempt, self._consumer)))

    async def _deliver(self, pulled: PulledMessage) -> None:
        with server_span(self._consumer.name, pulled.incoming, SpanKind.CONSUMER):
            position = await self._epochs.at(self._event.stream.name, pulled.sequence, fresh=False)
            about = About(pulled.incoming.header(MESSAGE_ID) or "", position, pulled.attempt)
            await self._handlers.give(self._event, self._consumer, pulled.incoming.body, about)

    async def _keep_claimed(self) -> None:
        """Tells the stream, as long as something is held, that it still is: what waits to be handled, too."""
        while True:
            await asyncio.sleep(self._consumer.ack_wait_s / 3)
            for pulled in tuple(self._held.values()):
                self._answer(pulled, IN_PROGRESS)

    def _answer(self, pulled: PulledMessage, word: bytes) -> None:
        if self._transport.connected:
            self._transport.publish(pulled.incoming.reply, word)


def _later(seconds: float) -> bytes:
    """Asks for another delivery, not before so long."""
    return NAK + b' {"delay": %d}' % int(seconds * 1e9)
