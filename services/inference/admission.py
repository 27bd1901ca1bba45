"""Who may work now, who waits and who is refused, at one replica; counts requests and their tokens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from libs.shared.errors import Overloaded

FIRST_GUESS_S = 5.0
"""How long a request takes, before one was measured."""
MAX_RETRY_AFTER_S = 120.0


@dataclass
class Ticket:
    """One request's place: ``tokens`` is what its prompt was estimated at."""

    tokens: int
    turn: asyncio.Future[None] | None = None
    running: bool = False


class Admission:
    """``slots`` at once, ``max_queue`` waiting in order; ``changed(urgent)`` is told of every change of the counts."""

    def __init__(self, slots: int, max_queue: int, changed: Callable[[bool], None]) -> None:
        self.slots = slots
        self.max_queue = max_queue
        self.in_flight = 0
        self.in_flight_tokens = 0
        self.queued_tokens = 0
        self._changed = changed
        self._queue: deque[Ticket] = deque()
        self._duration_s: float | None = None

    @property
    def queued(self) -> int:
        return len(self._queue)

    async def enter(self, tokens: int) -> Ticket:
        """Returns when it is this request's turn. Raises Overloaded when the queue is full."""
        ticket = Ticket(tokens)
        if self.in_flight < self.slots and not self._queue:
            self._begin(ticket)
            self._changed(self.in_flight == self.slots)
            return ticket
        if self.queued >= self.max_queue:
            raise Overloaded("the replica's queue is full", retry_after_s=self.retry_after_s())
        await self._wait(ticket)
        return ticket

    def leave(self, ticket: Ticket, duration_s: float | None) -> None:
        """Frees the slot; ``duration_s`` of a request that went to its end feeds ``retry_after_s``."""
        was_full = self.in_flight == self.slots
        self.in_flight -= 1
        self.in_flight_tokens -= ticket.tokens
        if duration_s is not None:
            self._duration_s = duration_s if self._duration_s is None else 0.8 * self._duration_s + 0.2 * duration_s
        moved = self._call_next()
        self._changed(was_full or moved)

    def resize(self, slots: int) -> None:
        """From now on so many at once; what is at work goes on."""
        if slots == self.slots:
            return
        self.slots = slots
        self._call_next()
        self._changed(True)

    def retry_after_s(self) -> float:
        """When, by the measured duration, a place in the queue will be free."""
        each = self._duration_s if self._duration_s is not None else FIRST_GUESS_S
        return round(min(MAX_RETRY_AFTER_S, max(0.1, each / max(1, self.slots))), 1)

    async def _wait(self, ticket: Ticket) -> None:
        ticket.turn = asyncio.get_running_loop().create_future()
        self._queue.append(ticket)
        self.queued_tokens += ticket.tokens
        self._changed(True)
        try:
            await ticket.turn
        except BaseException:
            self._withdraw(ticket)
            raise

    def _withdraw(self, ticket: Ticket) -> None:
        if ticket.running:
            # Its turn had come in the same moment as the cancellation: the slot goes on to the next.
            self.leave(ticket, None)
        elif ticket in self._queue:
            self._queue.remove(ticket)
            self.queued_tokens -= ticket.tokens
            self._changed(True)

    def _call_next(self) -> bool:
        moved = False
        while self._queue and self.in_flight < self.slots:
            ticket = self._queue.popleft()
            self.queued_tokens -= ticket.tokens
            moved = True
            if ticket.turn is not None and not ticket.turn.done():
                self._begin(ticket)
                ticket.turn.set_result(None)
        return moved

    def _begin(self, ticket: Ticket) -> None:
        ticket.running = True
        self.in_flight += 1
        self.in_flight_tokens += ticket.tokens
