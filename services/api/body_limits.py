"""How large and how slow a request's body may be, and how much of all bodies is held at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope

from libs.shared.contracts.base import KIB
from libs.shared.errors import Overloaded, TooLarge
from services.api.errors import RequestTimeout

OPEN_BODY_BYTES = 64 * KIB
"""Of a request that needs no credential: anybody may send as many of these as there are connections."""
_UNCOUNTED_BYTES = 64 * KIB
"""Of each body, so that ordinary requests go on while large ones are refused."""
_DISCARDED_TIMES = 8
"""How much of a refused body is read and thrown away, in times of what was allowed."""
_DISCARDED_MORE = 64 * 1024 * KIB
"""And at most so much more than what was allowed."""


class Held:
    """Bodies of one size that are in memory at this moment, and how many of the largest may be."""

    __slots__ = ("bytes", "most_bodies")

    def __init__(self, most_bodies: int) -> None:
        self.bytes = 0
        self.most_bodies = most_bodies


ORDINARY = Held(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What an endpoint allows beyond the ordinary, once its caller is admitted."""

    body_bytes: int
    body_s: float
    request_s: float
    """For all of it, the answer included."""
    held: Held | None
    """None: the endpoint keeps no body in memory."""


class BoundedBody:
    """A ``receive`` that raises TooLarge, RequestTimeout or Overloaded; ``close`` it at the request's end."""

    __slots__ = (
        "_counted",
        "_deadline",
        "_expected",
        "_held",
        "_left",
        "_limit",
        "_receive",
        "_timeout_s",
        "_told",
        "_whole",
    )

    def __init__(self, scope: Scope, receive: Receive, *, limit_bytes: int, timeout_s: float) -> None:
        self._receive = receive
        self._limit = self._left = limit_bytes
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._whole = False
        self._counted = 0
        self._held: Held | None = ORDINARY
        self._expected, self._told = _announced(scope)

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        if self._left < 0 or self._told > self._limit:
            raise self._too_large()
        message = await self._part()
        if message["type"] == "http.request":
            self._take(len(message.get("body", b"")))
            self._whole = not message.get("more_body", False)
        return message

    def narrow(self, limit_bytes: int) -> None:
        """Allows less than before; to be called before anything was read."""
        self._left -= max(0, self._limit - limit_bytes)
        self._limit = min(self._limit, limit_bytes)

    def widen(self, room: Room) -> None:
        """Allows more than before; to be called before anything was read."""
        self._limit = self._left = room.body_bytes
        self._timeout_s = room.body_s
        self._held = room.held

    def close(self) -> None:
        """The request is over, and its body no longer held."""
        if self._held is not None:
            self._held.bytes -= self._counted
        self._counted = 0

    async def discard(self) -> None:
        """Reads what still comes of a refused body, within bounds: a client that is still sending when its connection
        is closed never sees why. One that asked before sending is simply told."""
        self.close()
        left = min(_DISCARDED_TIMES * self._limit, self._limit + _DISCARDED_MORE)
        while left > 0 and not self._whole and not self._expected:
            try:
                message = await self._part()
            except RequestTimeout:
                return
            left -= len(message.get("body", b""))
            self._whole = message["type"] != "http.request" or not message.get("more_body", False)

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self._too_large()
        if self._held is not None:
            self._count(self._held)

    def _count(self, held: Held) -> None:
        counted = max(0, self._limit - self._left - _UNCOUNTED_BYTES)
        held.bytes += counted - self._counted
        self._counted = counted
        if counted and held.bytes > held.most_bodies * self._limit:
            raise Overloaded("Too many large requests at this moment.", retry_after_s=1)

    async def _part(self) -> Message:
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._timeout_s
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            raise RequestTimeout("The request's body took too long to arrive.") from None

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A request's body may have {self._limit} bytes.", limit_bytes=self._limit)


def _announced(scope: Scope) -> tuple[bool, int]:
    """Whether the client waits to be asked for the body (``Expect``), and its length as told; 0 when it isn't."""
    expected, length = False, 0
    for name, value in scope["headers"]:
        if name == b"expect":
            expected = True
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    return expected, length
