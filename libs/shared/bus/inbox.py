"""Replies find who waits for them: one wildcard subscription, and a table of tokens."""

from __future__ import annotations

from secrets import token_hex
from typing import Protocol

from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import Incoming
from libs.shared.errors import Forbidden, ServiceError, Unavailable

LOST = "the connection to the broker broke; the request may or may not have been carried out"


_TOKEN = 16
"""Hexadecimal digits of a reply subject's last word."""
_TOKENS_AT_ONCE = 64


class Receiver(Protocol):
    """Something that waits for replies."""

    subject: str
    """Where its request went."""

    def feed(self, incoming: Incoming) -> None: ...

    def fail(self, error: ServiceError) -> None: ...


class Inbox:
    """Hands out reply subjects, and what comes back to who asked."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._prefix = transport.inbox + "."
        self._waiting: dict[str, Receiver] = {}
        self._tokens: list[str] = []

    async def open(self) -> None:
        """Subscribes; once a connection."""
        self._transport.on_denied(self._denied)
        self._transport.on_lost(self._lost)
        await self._transport.subscribe(self._prefix + "*", self._received)

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, receiver: Receiver) -> str:
        """A reply subject for ``receiver``. Whoever has not been told it cannot guess it."""
        if not self._tokens:
            # one question to the system's source of randomness for many
            many = token_hex(_TOKENS_AT_ONCE * _TOKEN // 2)
            self._tokens = [many[at : at + _TOKEN] for at in range(0, len(many), _TOKEN)]
        reply = self._prefix + self._tokens.pop()
        self._waiting[reply] = receiver
        return reply

    def leave(self, reply: str) -> None:
        self._waiting.pop(reply, None)

    def fail_all(self, error: ServiceError) -> None:
        for receiver in tuple(self._waiting.values()):
            receiver.fail(error)

    def _received(self, incoming: Incoming) -> None:
        receiver = self._waiting.get(incoming.subject)
        if receiver is not None:
            receiver.feed(incoming)

    def _denied(self, subject: str) -> None:
        for receiver in tuple(self._waiting.values()):
            # its parts and its flow go to subjects below the request's own
            if f"{subject}.".startswith(f"{receiver.subject.lower()}."):
                receiver.fail(Forbidden("the broker denies this subject to this service", subject=receiver.subject))

    def _lost(self) -> None:
        self.fail_all(Unavailable(LOST))
