"""Events on JetStream: published with their id until they are on disk, consumed until they are handled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from opentelemetry.trace import SpanKind

from libs.shared.bus.calls import Calls
from libs.shared.bus.tracing import client_span
from libs.shared.bus.wire import MESSAGE_ID, encode
from libs.shared.contracts.base import KIB, Event, Message
from libs.shared.contracts.common import Position
from libs.shared.errors import Internal, ServiceError, StorageFull, TimedOut, Unavailable

M = TypeVar("M", bound=Message)

EPOCH = "mongars_epoch"
"""Metadata of a stream: a random word that names one life of it."""
API = "$JS.API"
PUBLISH_TIMEOUT_S = 10.0
"""All attempts of one publication."""
_ATTEMPT_S = 2.0
_PAUSE_S = 0.1
_LAST_WORD_S = 1.0
_API_TIMEOUT_S = 5.0
_REPLY_BYTES = 256 * KIB
_FULL = frozenset({10023, 10047, 10077, 10076})
"""Insufficient resources, insufficient storage, maximum bytes, maximum messages exceeded."""
_NO_SUCH_MESSAGE = frozenset({10037, 10043, 10057})


class Refused(Exception):
    """JetStream said no; ``code`` is its own error number."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code


class JetStreamApi:
    """JetStream's requests, as this connection may send them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def ask(self, verb: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = _API_TIMEOUT_S) -> Any:
        """One API request. Raises Refused, Unavailable, TimedOut, Forbidden."""
        sent = b"" if body is None else json.dumps(body).encode()
        incoming = await self._calls.exchange(f"{API}.{verb}", sent, timeout_s=timeout_s, limit=_REPLY_BYTES)
        return accepted(incoming.body)

    async def store(
        self, subject: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = _ATTEMPT_S
    ) -> dict[str, Any]:
        """Publishes to a stream and returns its acknowledgement. Raises as ``ask``."""
        incoming = await self._calls.exchange(
            subject, body, timeout_s=timeout_s, limit=_REPLY_BYTES, headers=headers, whole=True
        )
        found: dict[str, Any] = accepted(incoming.body)
        return found


def accepted(body: bytes) -> Any:
    """The reply without its error. Raises Refused."""
    reply = json.loads(body)
    if "error" in reply:
        raise Refused(int(reply["error"].get("err_code", 0)), str(reply["error"].get("description", "")))
    return reply


def refusal(error: Refused) -> ServiceError:
    """What a caller of the bus hears."""
    if error.code in _FULL:
        return StorageFull("the stream is full, or the disk is")
    return Unavailable(f"the stream refused ({error.code})")


class Epochs:
    """Which life of each stream the broker has now: read once, and again when it may have changed."""

    def __init__(self, api: JetStreamApi) -> None:
        self._api = api
        self._known: dict[str, str] = {}
        self._highest: dict[str, int] = {}

    def forget(self) -> None:
        """After a reconnection: the broker may have come back with another store."""
        self._known.clear()
        self._highest.clear()

    async def at(self, stream: str, sequence: int, *, fresh: bool) -> Position:
        """``sequence`` of ``stream`` as a position; ``fresh`` says that it was given out just now."""
        if fresh and sequence <= self._highest.get(stream, 0) - _OUT_OF_ORDER:
            self._known.pop(stream, None)
        if fresh:
            self._highest[stream] = max(sequence, self._highest.get(stream, 0))
        if stream not in self._known:
            await self.last(stream)
        return Position(epoch=self._known[stream], sequence=sequence)

    async def last(self, stream: str) -> Position:
        """The stream's end as it is now."""
        info = await self._api.ask(f"STREAM.INFO.{stream}")
        epoch = str((info["config"].get("metadata") or {}).get(EPOCH, info["created"]))
        if self._known.get(stream) != epoch:
            self._known[stream] = epoch
            self._highest.pop(stream, None)
        return Position(epoch=epoch, sequence=int(info["state"]["last_seq"]))


_OUT_OF_ORDER = 4096
"""Acknowledgements of concurrent publications overtake each other by less than this."""


class Publisher:
    """Publishes events: an id of the caller's choice makes repeating harmless."""

    def __init__(self, api: JetStreamApi, epochs: Epochs) -> None:
        self._api = api
        self._epochs = epochs

    async def publish(self, event: Event[M], message: M, message_id: str) -> Position:
        """The position, once it is on disk. Raises StorageFull, Unavailable, TooLarge."""
        body = encode(message, event.max_bytes)
        headers = {MESSAGE_ID: message_id}
        with client_span(event.subject, SpanKind.PRODUCER):
            try:
                ack = await self._until_stored(event.subject, body, headers)
                # a duplicate's sequence was given out long ago
                fresh = not ack.get("duplicate", False)
                return await self._epochs.at(event.stream.name, int(ack["seq"]), fresh=fresh)
            except Refused as error:
                raise refusal(error) from None
            except TimedOut:
                raise await self._why_unconfirmed(event.stream.name) from None

    async def _why_unconfirmed(self, stream: str) -> ServiceError:
        """A broker that can't write says nothing: it answers about the stream, and confirms no message of it."""
        try:
            await self._api.ask(f"STREAM.INFO.{stream}", timeout_s=_LAST_WORD_S)
        except (ServiceError, Refused):
            return Unavailable("the stream did not confirm in time")
        return StorageFull("the stream is there and stores nothing: its disk is full, or was")

    async def _until_stored(self, subject: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PUBLISH_TIMEOUT_S
        while True:
            try:
                return await self._api.store(
                    subject, body, headers, timeout_s=min(_ATTEMPT_S, max(0.05, deadline - loop.time()))
                )
            except (TimedOut, Unavailable) as error:
                if loop.time() + _PAUSE_S >= deadline:
                    if isinstance(error, TimedOut):
                        raise
                    raise Unavailable("the stream did not confirm in time") from None
                await asyncio.sleep(_PAUSE_S)


async def erase(api: JetStreamApi, stream: str, sequence: int) -> None:
    """Overwrites one message in the stream's files; one that is gone already is no error."""
    try:
        await api.ask(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": False})
    except Refused as error:
        if error.code not in _NO_SUCH_MESSAGE:
            raise Internal(f"the stream did not erase a message ({error.code})") from None


CaughtUp = Callable[[Position], Awaitable[None]]
