"""The bus over NATS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

from libs.shared.bus.base import Delivery, KeyValue, Objects, Poison
from libs.shared.bus.connection import NatsTransport
from libs.shared.bus.consumer import Handlers, PullConsumer
from libs.shared.bus.jetstream import Epochs, JetStreamApi, Publisher, Refused, erase, refusal
from libs.shared.bus.keyvalue import NatsKeyValue
from libs.shared.bus.objects import NatsObjects
from libs.shared.bus.permissions import inbox_prefix
from libs.shared.bus.typed import TypedConversations
from libs.shared.contracts.base import Bucket, Consumer, Event, Message, ObjectStore, Principal
from libs.shared.contracts.common import Position

M = TypeVar("M", bound=Message)


class NatsBus(TypedConversations):
    """One process's connection to the broker."""

    def __init__(self, transport: NatsTransport, principal: Principal) -> None:
        super().__init__(transport)
        self.principal = principal
        self.transport = transport
        self._api = JetStreamApi(self._calls)
        self._epochs = Epochs(self._api)
        self._publisher = Publisher(self._api, self._epochs)
        self._consumers: list[PullConsumer[Message]] = []
        transport.on_back(self._came_back)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        principal: Principal,
        seed_file: Path | None = None,
        ca_file: Path | None = None,
        name: str | None = None,
        node: str | None = None,
        tls_name: str | None = None,
    ) -> Self:
        """Connects as ``principal``; an inference node says which ``node`` it is, since each has a key of its own.

        Raises Unavailable, Forbidden.
        """
        transport = NatsTransport(inbox_prefix(principal, node))
        await transport.open(
            url, seed_file=seed_file, ca_file=ca_file, name=name or f"mongars-{principal}", tls_name=tls_name
        )
        bus = cls(transport, principal)
        try:
            await bus._inbox.open()
        except BaseException:
            await transport.close()
            raise
        return bus

    async def publish(self, event: Event[M], message: M, *, message_id: str) -> Position:
        return await self._publisher.publish(event, message, message_id)

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
        pulling = PullConsumer(
            self._transport,
            self._api,
            self._epochs,
            event,
            consumer,
            Handlers(handler, on_caught_up, on_poison),
            self._tasks,
            1 if in_order else consumer.at_once,
        )
        self.on_stop_taking(await pulling.start())
        self._consumers.append(pulling)  # type: ignore[arg-type]

    async def last_position(self, event: Event[M]) -> Position:
        try:
            return await self._epochs.last(event.stream.name)
        except Refused as error:
            raise refusal(error) from None

    async def delete_messages(self, event: Event[M], positions: tuple[Position, ...]) -> None:
        for position in positions:
            # a sequence of another life of the stream names another message
            if (await self._epochs.at(event.stream.name, position.sequence, fresh=False)) == position:
                await erase(self._api, event.stream.name, position.sequence)

    def bucket(self, bucket: Bucket) -> KeyValue:
        return NatsKeyValue(bucket, self._transport, self._calls, self._tasks)

    def objects(self, store: ObjectStore) -> Objects:
        return NatsObjects(store, self._calls, keeps=self.principal in store.keepers)

    async def finish(self, timeout_s: float) -> None:
        for consumer in self._consumers:
            consumer.stop()
        await super().finish(timeout_s)

    async def wait_closed(self) -> None:
        """Returns when the connection is gone for good; a broken one that is being mended is not."""
        await self.transport.closed.wait()

    def _came_back(self) -> None:
        self._epochs.forget()
        for consumer in self._consumers:
            consumer.pull_again()


def check_order(consumer: Consumer, in_order: bool) -> None:
    """Order needs the broker's help: it must not deliver the next before this one is acknowledged."""
    if in_order and consumer.max_ack_pending != 1:
        raise ValueError(f"consumer {consumer.name} is consumed in order, so its max_ack_pending must be 1")
