"""Bodies over 512 KiB cross in parts, a few at a time as the receiver grants them, and never past its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import GRANT, PART, PART_BYTES, PARTS, Incoming, block, parts_of, too_large
from libs.shared.errors import InvalidRequest, TimedOut, Unavailable

WINDOW = 8
"""Parts under way at once: 4 MiB, far from what the broker holds back for a slow client."""
_GRANT_EVERY = WINDOW // 2
PART_TIMEOUT_S = 5.0
"""Longest wait for the other side to send or to grant."""


def parts_subject(subject: str, instance: str) -> str:
    """Where one server instance hears the parts of requests, and grants for the parts of its replies."""
    return f"{subject}.parts.{instance}"


class PartsSender:
    """The sending half of one transfer."""

    def __init__(self, body: bytes, granted: int = 0) -> None:
        self._parts = parts_of(body)
        self._bytes = len(body)
        self._sent = 0
        self._granted = granted
        self._more = asyncio.Event()

    def announcement(self, instance: str) -> dict[str, str]:
        """The header that says how much will come, and where grants go."""
        return {PARTS: f"{len(self._parts)} {self._bytes} {instance}"}

    def grant(self, upto: int) -> None:
        """The receiver takes the parts before number ``upto``."""
        self._granted = max(self._granted, upto)
        self._more.set()

    async def send(self, transport: Transport, to: Callable[[], str], reply: str) -> None:
        """Publishes every part as it is granted. Raises TimedOut, Unavailable."""
        while self._sent < len(self._parts):
            if self._sent >= self._granted:
                await self._wait()
            transport.publish(to(), self._parts[self._sent], reply=reply, headers=block({PART: str(self._sent)}))
            self._sent += 1
            await transport.relieve()

    async def _wait(self) -> None:
        self._more.clear()
        try:
            async with asyncio.timeout(PART_TIMEOUT_S):
                await self._more.wait()
        except TimeoutError:
            raise TimedOut("the receiver of a large body stopped taking it") from None


class PartsReceiver:
    """The receiving half: keeps order, holds the announced size to the limit, and grants as it goes."""

    def __init__(self, announced: str, limit: int, grant: Callable[[int], None]) -> None:
        fields = announced.split(" ")
        if len(fields) != 3 or not (fields[0].isdecimal() and fields[1].isdecimal() and _names_one(fields[2])):
            raise InvalidRequest("the announcement of a large body is malformed")
        self._count, self.bytes, self.instance = int(fields[0]), int(fields[1]), fields[2]
        if self.bytes > limit:
            raise too_large(limit)
        if self._count != max(1, -(-self.bytes // PART_BYTES)):
            raise InvalidRequest("the announcement of a large body is malformed")
        self._parts: list[bytes] = []
        self._grant = grant
        self._done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._grant(WINDOW)

    def take(self, incoming: Incoming) -> None:
        """One part; a gap or a surplus fails the transfer."""
        if self._done.done():
            return
        if incoming.header(PART) != str(len(self._parts)) or len(incoming.body) > PART_BYTES:
            self.fail(Unavailable("a part of a large body was lost"))
            return
        self._parts.append(incoming.body)
        if len(self._parts) == self._count:
            self._finish()
        elif len(self._parts) % _GRANT_EVERY == 0:
            self._grant(len(self._parts) + WINDOW)

    @property
    def done(self) -> bool:
        return self._done.done()

    def fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()  # a transfer that nobody waits for any more is no news

    async def whole(self) -> bytes:
        """The body. Raises TimedOut when a part is late, Unavailable when one was lost."""
        held = -1
        while not self._done.done() and held < len(self._parts):
            held = len(self._parts)
            await asyncio.wait([self._done], timeout=PART_TIMEOUT_S)
        if not self._done.done():
            raise TimedOut("a part of a large body did not come")
        return self._done.result()

    def result(self) -> bytes:
        return self._done.result()

    def _finish(self) -> None:
        body = b"".join(self._parts)
        self._parts.clear()
        if len(body) == self.bytes:
            self._done.set_result(body)
        else:
            self.fail(Unavailable("a large body is not as long as announced"))


def granted(incoming: Incoming) -> int | None:
    """How many parts the receiver takes so far, None when the message is no grant."""
    told = incoming.header(GRANT)
    return int(told.split(" ")[0]) if told and told.split(" ")[0].isdecimal() else None


def _names_one(instance: str) -> bool:
    """Whether it is one word of a subject: the other side chose it, and could end the line to the broker with it."""
    return instance.isascii() and instance.isalnum()


class Upload:
    """A large request on its way: announced at once, sent in parts when a server instance has taken it."""

    def __init__(self, transport: Transport, subject: str, reply: str, body: bytes) -> None:
        self._transport = transport
        self._subject = subject
        self._reply = reply
        self._sender = PartsSender(body)
        self._instance = ""
        self._sending: asyncio.Task[None] | None = None

    def announcement(self) -> dict[str, str]:
        return self._sender.announcement(self._transport.instance)

    def start(self, fail: Callable[[Exception], None]) -> None:
        """Begins to wait for grants; ``fail`` hears of an upload that broke off."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                fail(error if isinstance(error, Exception) else Unavailable(str(error)))

        self._sending = asyncio.create_task(
            self._sender.send(self._transport, lambda: parts_subject(self._subject, self._instance), self._reply)
        )
        self._sending.add_done_callback(ended)

    def granted(self, incoming: Incoming) -> None:
        told = (incoming.header(GRANT) or "").split(" ")
        if len(told) == 2 and told[0].isdecimal() and _names_one(told[1]):
            self._instance = self._instance or told[1]
            self._sender.grant(int(told[0]))

    def stop(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
