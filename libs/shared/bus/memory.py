"""The bus inside one process, for tests: the same typed conversations on a broker of plain objects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from libs.shared.bus.base import Delivery, KeyValue, Objects, Poison
from libs.shared.bus.calls import header_block
from libs.shared.bus.consumer import Handlers
from libs.shared.bus.memory_objects import MemoryObjects
from libs.shared.bus.memory_streams import MemoryBucket, MemoryConsumer, MemoryKeyValue, MemoryStream
from libs.shared.bus.memory_transport import MemoryTransport, Switchboard
from libs.shared.bus.nats import check_order
from libs.shared.bus.permissions import inbox_prefix
from libs.shared.bus.typed import TypedConversations
from libs.shared.bus.wire import encode
from libs.shared.contracts.base import Bucket, Consumer, Event, Message, ObjectStore, Principal
from libs.shared.contracts.common import Position
from libs.shared.errors import Unavailable

M = TypeVar("M", bound=Message)


class MemoryBroker:
    """Streams, buckets and subjects that the buses of one test share."""

    def __init__(self) -> None:
        self.board = Switchboard()
        self._streams: dict[str, MemoryStream] = {}
        self._consumers: dict[tuple[str, str], MemoryConsumer[Any]] = {}
        self._buckets: dict[str, MemoryBucket] = {}
        self._stores: dict[str, MemoryObjects] = {}

    async def connect(self, principal: Principal) -> MemoryBus:
        transport = MemoryTransport(self.board, inbox_prefix(principal), None)
        bus = MemoryBus(self, transport, principal)
        await bus.open()
        return bus

    def stream(self, event: Event[Any]) -> MemoryStream:
        return self._streams.setdefault(event.stream.name, MemoryStream(event.stream))

    def consumer(self, event: Event[M], declared: Consumer) -> MemoryConsumer[M]:
        key = (event.stream.name, declared.name)
        if key not in self._consumers:
            self._consumers[key] = MemoryConsumer(self.stream(event), event, declared)
        return self._consumers[key]

    def bucket(self, bucket: Bucket) -> MemoryBucket:
        return self._buckets.setdefault(bucket.name, MemoryBucket(bucket))

    def objects(self, store: ObjectStore) -> MemoryObjects:
        return self._stores.setdefault(store.name, MemoryObjects(store))


class MemoryBus(TypedConversations):
    """One service's connection to a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, transport: MemoryTransport, principal: Principal) -> None:
        super().__init__(transport)
        self.principal = principal
        self.transport = transport
        self._broker = broker
        self._attached: list[MemoryConsumer[Any]] = []

    async def open(self) -> None:
        await self._inbox.open()

    async def publish(self, event: Event[M], message: M, *, message_id: str) -> Position:
        if not self.connected:
            raise Unavailable("the broker is away")
        body = encode(message, event.max_bytes)
        return self._broker.stream(event).append(event.subject, message_id, body, header_block({}))

    async def consume(
        self,
        event: Event[M],
        consumer: Consumer,
        handler: Callable[[Delivery[M]], Awaitable[None]],
        *,
        in_order: bool = False,
        on_caught_up: Callable[[Position], Awaitable[None]] | None = None,
        on_poison: Callable[[Poison], Awaitable[None]] | None = None,
    ) -> None:
        check_order(consumer, in_order)
        attached = self._broker.consumer(event, consumer)
        attached.attach(Handlers(handler, on_caught_up, on_poison), self._tasks, in_order)
        self._attached.append(attached)

    async def last_position(self, event: Event[M]) -> Position:
        stream = self._broker.stream(event)
        return Position(epoch=stream.epoch, sequence=stream.last)

    async def delete_messages(self, event: Event[M], positions: tuple[Position, ...]) -> None:
        stream = self._broker.stream(event)
        for position in positions:
            if position.epoch == stream.epoch:
                stream.delete(position.sequence)

    def bucket(self, bucket: Bucket) -> KeyValue:
        return MemoryKeyValue(self._broker.bucket(bucket), self._tasks)

    def objects(self, store: ObjectStore) -> Objects:
        return self._broker.objects(store)

    async def finish(self, timeout_s: float) -> None:
        for consumer in self._attached:
            consumer.detach()
        await super().finish(timeout_s)
