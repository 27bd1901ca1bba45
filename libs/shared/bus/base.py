"""The bus as services see it: one Protocol with a NATS and an in-memory implementation."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from libs.shared.contracts.base import Broadcast, Bucket, Consumer, Event, Message, ObjectStore, Rpc, Stream
from libs.shared.contracts.common import Position

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Delivery(Generic[M]):
    """One delivery of an event. Returning from the handler acknowledges it, raising asks for another."""

    message: M
    message_id: str
    position: Position
    attempt: int
    """1 on the first delivery."""
    last_attempt: bool
    """The handler of this one should quarantine rather than raise."""


@dataclass(frozen=True)
class Poison:
    """A stored message that its contract cannot read: no further delivery would help."""

    body: bytes
    message_id: str
    position: Position


@dataclass(frozen=True)
class Entry:
    """What a bucket holds under a key."""

    value: bytes | None
    """None: nothing, or it was deleted."""
    revision: int
    """Grows with each writing and deletion; 0: none that is known."""


@dataclass(frozen=True)
class ObjectAbout:
    """A file in an object store."""

    name: str
    size: int
    sha256: str
    """Hexadecimal."""
    nuid: str
    """Of this putting."""
    parts: int
    put_at: datetime


class Objects(Protocol):
    """An object store. Every method raises ServiceError alone."""

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> ObjectAbout:
        """Whole or not at all; one of that name is replaced. Raises StorageFull."""
        ...

    async def about(self, name: str) -> ObjectAbout | None:
        """None: there is no such object."""
        ...

    def get(self, name: str) -> AsyncIterator[bytes]:
        """Its bytes, none where it isn't there. Raises ArtefactCorrupt where they aren't what was put, at the end at
        the latest: what came is of no use then."""
        ...

    async def list(self) -> tuple[ObjectAbout, ...]:
        """By name."""
        ...

    async def delete(self, name: str) -> None:
        """One that isn't there is no error."""
        ...

    async def free_bytes(self) -> int:
        """What may still be put; who keeps the store may ask."""
        ...

    async def sweep(self, older_than_s: float) -> int:
        """Takes away what was put in half by a process that ended; how many there were."""
        ...


class KeyValue(Protocol):
    """A bucket. Keys are dots-and-word characters; values are bytes."""

    async def get(self, key: str) -> bytes | None: ...
    async def read(self, key: str) -> Entry:
        """The value with its revision, for ``update``."""
        ...

    async def update(self, key: str, value: bytes, revision: int) -> bool:
        """Writes unless the key was written or deleted since ``revision``; False then."""
        ...

    async def put(self, key: str, value: bytes) -> None: ...
    async def create(self, key: str, value: bytes) -> bool:
        """False when the key exists: the way to use a ticket once."""
        ...

    async def delete(self, key: str) -> None: ...
    async def watch(self, handler: Callable[[str, bytes | None], Awaitable[None]]) -> None:
        """Calls ``handler(key, value)`` for every later change until the bus closes.

        What changes while the broker is away is missed: whoever needs the newest value reads again now and then.
        """
        ...


class Bus(Protocol):
    """Typed conversations. Every method raises ServiceError subclasses alone."""

    @property
    def connected(self) -> bool: ...

    @property
    def stopping(self) -> bool:
        """Whether it takes nothing more: what could go on for long should end, and will be delivered again."""
        ...

    async def request(self, rpc: Rpc[Q, R], message: Q, *, timeout_s: float | None = None, **where: str) -> R:
        """One reply. Raises Unavailable at once when nobody serves the subject, TimedOut, or the server's error."""
        ...

    def stream(
        self, contract: Stream[Q, R], message: Q, *, first_timeout_s: float | None = None, **where: str
    ) -> AbstractAsyncContextManager[AsyncIterator[R]]:
        """``async with bus.stream(CHAT, request) as chunks: async for chunk in chunks``.

        Leaving the block early (an exception, a cancellation, a ``break``) cancels the work at the server.
        Raises as ``request``, from the iteration.
        """
        ...

    async def publish(self, event: Event[M], message: M, *, message_id: str) -> Position:
        """Returns once the stream has it on disk; retries with the same id. Raises StorageFull, Unavailable."""
        ...

    async def broadcast(self, contract: Broadcast[M], message: M) -> None: ...

    async def serve(self, contract: Rpc[Q, R], handler: Callable[[Q], Awaitable[R]], **where: str) -> None: ...

    async def serve_stream(
        self, contract: Stream[Q, R], handler: Callable[[Q], AsyncIterator[R]], **where: str
    ) -> None:
        """``handler`` is an async generator function; it is closed (GeneratorExit/CancelledError) on cancellation."""
        ...

    async def subscribe(self, contract: Broadcast[M], handler: Callable[[M], Awaitable[None]]) -> None: ...

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
        """Delivers until the bus drains. ``in_order``: one at a time, by sequence; the consumer must be declared so.

        ``on_poison`` is given what cannot be decoded, and returning acknowledges it; without one it is logged and
        passed over.

        ``on_caught_up`` is told the stream's last position whenever nothing is pending, so that a watermark passes
        deleted messages at the stream's end.
        """
        ...

    async def last_position(self, event: Event[M]) -> Position:
        """The end of the event's stream as it is now; its owner and its consumers may ask. Raises Unavailable."""
        ...

    async def delete_messages(self, event: Event[M], positions: tuple[Position, ...]) -> None:
        """Erases messages from the stream; persistence alone may. One that is gone already is no error."""
        ...

    def bucket(self, bucket: Bucket) -> KeyValue: ...

    def objects(self, store: ObjectStore) -> Objects: ...

    async def drain(self, timeout_s: float) -> None:
        """Stops taking work, finishes what is in flight within ``timeout_s``, closes."""
        ...


BusFactory = Callable[[], Awaitable[Bus]]
