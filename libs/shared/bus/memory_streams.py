"""Streams and buckets inside the process, for tests: ids deduplicate, unacknowledged messages come again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from secrets import token_hex
from typing import Generic, TypeVar

from libs.shared.bus.base import Entry
from libs.shared.bus.consumer import About, Handlers, backoff_s
from libs.shared.bus.endpoints import log
from libs.shared.bus.keyvalue import checked
from libs.shared.bus.lanes import Lane, Tasks
from libs.shared.bus.tracing import server_span
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import Bucket, Consumer, Event, JetStream, Message
from libs.shared.contracts.common import Position
from libs.shared.errors import ServiceError, StorageFull

M = TypeVar("M", bound=Message)


class Stored:
    """One message of a stream."""

    __slots__ = ("body", "message_id", "raw", "sequence", "subject")

    def __init__(self, sequence: int, subject: str, message_id: str, body: bytes, raw: bytes | None) -> None:
        self.sequence = sequence
        self.subject = subject
        self.message_id = message_id
        self.body = body
        self.raw = raw


class MemoryStream:
    """One life of one stream; what waits for new messages is told of each."""

    def __init__(self, declared: JetStream) -> None:
        self._declared = declared
        self.epoch = token_hex(8)
        self.messages: dict[int, Stored] = {}
        self.last = 0
        self._by_id: dict[str, int] = {}
        self._bytes = 0
        self.listeners: list[Callable[[Stored], None]] = []

    def append(self, subject: str, message_id: str, body: bytes, raw: bytes | None) -> Position:
        if (known := self._by_id.get(message_id)) is not None:
            return Position(epoch=self.epoch, sequence=known)
        if self._bytes + len(body) > self._declared.max_bytes:
            raise StorageFull("the stream is full, or the disk is")
        self.last += 1
        self._bytes += len(body)
        self._by_id[message_id] = self.last
        stored = self.messages[self.last] = Stored(self.last, subject, message_id, body, raw)
        for tell in self.listeners:
            tell(stored)
        return Position(epoch=self.epoch, sequence=self.last)

    def delete(self, sequence: int) -> None:
        if (gone := self.messages.pop(sequence, None)) is not None:
            self._bytes -= len(gone.body)


class MemoryConsumer(Generic[M]):
    """A durable consumer: it remembers what was acknowledged while nobody consumes."""

    def __init__(self, stream: MemoryStream, event: Event[M], declared: Consumer) -> None:
        self._stream = stream
        self._event = event
        self._declared = declared
        self._pending: deque[Stored] = deque(m for m in stream.messages.values() if m.subject == event.subject)
        self._attempts: dict[int, int] = {}
        self._flying: set[int] = set()
        self._lane: Lane | None = None
        self._tasks: Tasks | None = None
        self._handlers: Handlers[M] | None = None
        stream.listeners.append(self._came)

    def attach(self, handlers: Handlers[M], tasks: Tasks, in_order: bool) -> None:
        """Starts to deliver on behalf of one bus."""
        self._handlers = handlers
        self._tasks = tasks
        self._lane = Lane(tasks, 1 if in_order else self._declared.at_once, 1 << 30)
        self._offer()
        tasks.start(self._tell_caught_up())

    def detach(self) -> None:
        self._lane = None

    def _came(self, stored: Stored) -> None:
        if stored.subject == self._event.subject:
            self._pending.append(stored)
            self._offer()

    def _offer(self) -> None:
        while self._lane is not None and self._pending and len(self._flying) < self._declared.max_ack_pending:
            stored = self._pending.popleft()
            self._flying.add(stored.sequence)
            self._lane.offer(partial(self._handle, stored))

    async def _handle(self, stored: Stored) -> None:
        """Delivers; a message that was not handled goes back in front after its pause, and only then lands."""
        if self._lane is None or stored.sequence not in self._stream.messages:
            self._land(stored, again=stored.sequence in self._stream.messages)
            return
        attempt = self._attempts[stored.sequence] = self._attempts.get(stored.sequence, 0) + 1
        try:
            await self._deliver(stored, attempt)
        except asyncio.CancelledError:
            self._land(stored, again=True)
            raise
        except Exception as error:
            expected = isinstance(error, ServiceError)
            log.warning("event_not_handled", consumer=self._declared.name, exc_info=None if expected else error)
            asyncio.get_running_loop().call_later(
                backoff_s(attempt, self._declared), partial(self._land, stored, again=True)
            )
            return
        self._land(stored, again=False)
        await self._tell_caught_up()

    async def _deliver(self, stored: Stored, attempt: int) -> None:
        assert self._handlers is not None
        with server_span(self._declared.name, Incoming(stored.subject, "", stored.body, stored.raw)):
            position = Position(epoch=self._stream.epoch, sequence=stored.sequence)
            about = About(stored.message_id, position, attempt)
            await self._handlers.give(self._event, self._declared, stored.body, about)

    def _land(self, stored: Stored, *, again: bool) -> None:
        self._flying.discard(stored.sequence)
        if again:
            self._pending.appendleft(stored)
        elif self._stream_is_queue:
            self._stream.delete(stored.sequence)
        self._offer()

    @property
    def _stream_is_queue(self) -> bool:
        return self._event.stream.work_queue

    async def _tell_caught_up(self) -> None:
        handlers = self._handlers
        if handlers is None or handlers.caught_up is None or self._pending or self._flying:
            return
        try:
            await handlers.caught_up(Position(epoch=self._stream.epoch, sequence=self._stream.last))
        except Exception as error:
            log.error("handler_failed", endpoint=self._declared.name, exc_info=error)


class MemoryBucket:
    """The entries of one bucket, and who watches them. As in a broker, a deletion is an entry too."""

    def __init__(self, declared: Bucket) -> None:
        self._declared = declared
        self._entries: dict[str, Entry] = {}
        self._last = 0
        self._bytes = 0
        self.changed: list[Callable[[str, bytes | None], None]] = []

    @property
    def entries(self) -> dict[str, bytes]:
        """The values that are there."""
        return {key: entry.value for key, entry in self._entries.items() if entry.value is not None}

    def entry(self, key: str) -> Entry:
        return self._entries.get(key, Entry(None, 0))

    def set(self, key: str, value: bytes | None) -> None:
        self._last += 1
        self._drop(key)
        self._entries[key] = Entry(value, self._last)
        self._bytes += len(value or b"")
        if self._declared.evicts:
            self._evict()
        for tell in self.changed:
            tell(key, value)

    def _evict(self) -> None:
        most = self._declared.max_entries or len(self._entries)
        while len(self._entries) > most or self._bytes > self._declared.max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        gone = self._entries.pop(key, None)
        self._bytes -= len(gone.value or b"") if gone is not None else 0


class MemoryKeyValue:
    """One connection's view of a bucket."""

    def __init__(self, bucket: MemoryBucket, tasks: Tasks) -> None:
        self._bucket = bucket
        self._tasks = tasks

    async def get(self, key: str) -> bytes | None:
        return self._bucket.entry(checked(key)).value

    async def read(self, key: str) -> Entry:
        return self._bucket.entry(checked(key))

    async def update(self, key: str, value: bytes, revision: int) -> bool:
        if self._bucket.entry(checked(key)).revision != revision:
            return False
        self._bucket.set(key, bytes(value))
        return True

    async def put(self, key: str, value: bytes) -> None:
        self._bucket.set(checked(key), bytes(value))

    async def create(self, key: str, value: bytes) -> bool:
        if self._bucket.entry(checked(key)).value is not None:
            return False
        self._bucket.set(key, bytes(value))
        return True

    async def delete(self, key: str) -> None:
        self._bucket.set(checked(key), None)

    async def watch(self, handler: Callable[[str, bytes | None], Awaitable[None]]) -> None:
        lane = Lane(self._tasks, 1, 1 << 30)

        async def tell(key: str, value: bytes | None) -> None:
            try:
                await handler(key, value)
            except Exception as error:
                log.error("handler_failed", endpoint="watch", exc_info=error)

        def changed(key: str, value: bytes | None) -> None:
            lane.offer(lambda: tell(key, value))

        self._bucket.changed.append(changed)
