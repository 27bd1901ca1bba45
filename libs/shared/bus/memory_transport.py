"""A broker inside the process, for tests: subjects, queue groups and permissions as NATS has them."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable
from secrets import token_hex

from libs.shared.bus.permissions import Permissions
from libs.shared.bus.transport import OnMessage
from libs.shared.bus.wire import Incoming
from libs.shared.errors import Forbidden, Unavailable

_NOBODY = b"NATS/1.0 503\r\n\r\n"


def matches(pattern: str, subject: str) -> bool:
    """Whether a subscription to ``pattern`` hears ``subject``."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, word in enumerate(wanted):
        if word == ">":
            return len(given) > place
        if place >= len(given) or word not in ("*", given[place]):
            return False
    return len(wanted) == len(given)


class _Subscription:
    __slots__ = ("on_message", "owner", "queue", "subject")

    def __init__(self, owner: MemoryTransport, subject: str, queue: str, on_message: OnMessage) -> None:
        self.owner = owner
        self.subject = subject
        self.queue = queue
        self.on_message = on_message


class Switchboard:
    """Who hears what; deliveries happen in order, on later turns of the event loop."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        # a broker between processes carries no context variables, such as the caller's span
        self._context = contextvars.copy_context()
        self._turns: dict[tuple[str, str], int] = {}
        self.subscriptions: dict[int, _Subscription] = {}

    def add(self, subscription: _Subscription) -> int:
        number = next(self._numbers)
        self.subscriptions[number] = subscription
        return number

    def route(self, subject: str, reply: str, body: bytes, raw: bytes | None) -> bool:
        """Hands a message to every plain subscriber, and to one of each queue group. False when nobody listens."""
        groups: dict[str, list[_Subscription]] = {}
        for subscription in self.subscriptions.values():
            if matches(subscription.subject, subject):
                group = subscription.queue or f" {id(subscription)}"
                groups.setdefault(group, []).append(subscription)
        loop = asyncio.get_running_loop()
        for group, members in groups.items():
            chosen = members[0] if len(members) == 1 else self._next_of(group, members)
            loop.call_soon(self._deliver, chosen, Incoming(subject, reply, body, raw), context=self._context)
        return bool(groups)

    def _next_of(self, group: str, members: list[_Subscription]) -> _Subscription:
        key = (members[0].subject, group)
        self._turns[key] = turn = self._turns.get(key, -1) + 1
        return members[turn % len(members)]

    def _deliver(self, subscription: _Subscription, incoming: Incoming) -> None:
        if subscription in self.subscriptions.values():
            subscription.on_message(incoming)


class MemoryTransport:
    """One connection to the switchboard."""

    def __init__(self, board: Switchboard, inbox_prefix: str, permissions: Permissions | None) -> None:
        self._board = board
        self._permissions = permissions
        self._instance = token_hex(6)
        self._inbox = f"{inbox_prefix}.{self._instance}"
        self._on_denied: list[Callable[[str], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._on_back: list[Callable[[], None]] = []
        self.connected = True
        self._back = asyncio.Event()

    @property
    def inbox(self) -> str:
        return self._inbox

    @property
    def instance(self) -> str:
        return self._instance

    @property
    def settling(self) -> bool:
        return False

    async def wait_connected(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not self.connected:
                    self._back.clear()
                    await self._back.wait()
        except TimeoutError:
            raise Unavailable("the broker is away") from None

    def publish(self, subject: str, body: bytes, *, reply: str = "", headers: bytes | None = None) -> None:
        if not self.connected:
            raise Unavailable("the broker is away")
        if self._permissions is not None and not _allowed(self._permissions.publish, subject, ""):
            asyncio.get_running_loop().call_soon(self._deny, subject)
            return
        if not self._board.route(subject, reply, body, headers) and reply:
            self._board.route(reply, "", b"", _NOBODY)

    async def relieve(self) -> None:
        await asyncio.sleep(0)

    async def subscribe(self, subject: str, on_message: OnMessage, *, queue: str = "") -> int:
        if self._permissions is not None and not _allowed(self._permissions.subscribe, subject, queue):
            raise Forbidden("the broker denies this subject to this service", subject=subject)
        return self._board.add(_Subscription(self, subject, queue, on_message))

    async def unsubscribe(self, *numbers: int) -> None:
        # as with NATS, what was sent before is still delivered
        await asyncio.sleep(0)
        for number in numbers:
            self._board.subscriptions.pop(number, None)

    def on_denied(self, react: Callable[[str], None]) -> None:
        self._on_denied.append(react)

    def on_lost(self, react: Callable[[], None]) -> None:
        self._on_lost.append(react)

    def on_back(self, react: Callable[[], None]) -> None:
        self._on_back.append(react)

    async def flush(self, timeout_s: float) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        self.connected = False
        self._back.set()
        for react in self._on_lost:
            react()
        self._board.subscriptions = {
            number: s for number, s in self._board.subscriptions.items() if s.owner is not self
        }

    def _deny(self, subject: str) -> None:
        for react in self._on_denied:
            react(subject.lower())


def _allowed(rules: tuple[str, ...], subject: str, queue: str) -> bool:
    for rule in rules:
        pattern, _, only_queue = rule.partition(" ")
        if matches(pattern, subject) and only_queue in ("", queue):
            return True
    return False
