"""How far the stream of turns is applied, and who waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from libs.shared.contracts.common import Position
from libs.shared.errors import NotYetApplied

_MOST_WAITERS = 10_000


@dataclass
class Watermark:
    """This process's view of the watermark row; it only ever follows a commit."""

    epoch: str
    sequence: int
    _waiters: set[tuple[Position, asyncio.Future[None]]] = field(default_factory=set)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def caught_up(self) -> bool:
        """Nothing lay ahead in the stream when it was last looked at."""
        return self._idle.is_set()

    @caught_up.setter
    def caught_up(self, value: bool) -> None:
        if value:
            self._idle.set()
        else:
            self._idle.clear()

    async def wait_until_caught_up(self, timeout_s: float = 3.0) -> None:
        """Returns once every turn that lies in the stream is dealt with. Raises NotYetApplied."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            raise NotYetApplied("turns are on disk and not yet readable", retry_after_s=1) from None

    def has_reached(self, position: Position | None) -> bool:
        """A position of another life of the stream can't be waited for."""
        return position is None or position.epoch != self.epoch or position.sequence <= self.sequence

    def advance(self, position: Position) -> None:
        """Moves forward, or to the stream's next life, and lets readers go on."""
        if position.epoch == self.epoch:
            self.sequence = max(self.sequence, position.sequence)
        else:
            self.epoch, self.sequence = position.epoch, position.sequence
        self._moved.set()
        for wanted, future in self._waiters:
            if self.has_reached(wanted) and not future.done():
                future.set_result(None)

    async def wait_until_applied(self, end: Position, timeout_s: float) -> None:
        """Returns once the watermark stands at ``end`` or after it, in the same life of the stream.

        Unlike a reader's ``wait_for`` it also waits for another life to be taken up. Raises NotYetApplied.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while end.sequence > 0 and (self.epoch != end.epoch or self.sequence < end.sequence):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise NotYetApplied("turns are on disk and not yet applied", retry_after_s=1) from None

    async def wait_for(self, position: Position | None, timeout_s: float = 3.0) -> None:
        """Returns once ``position`` is applied. Raises NotYetApplied."""
        if position is None or self.has_reached(position):
            return
        if len(self._waiters) >= _MOST_WAITERS:
            raise NotYetApplied("too many readers wait for their turns", retry_after_s=1)
        waiter = (position, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1]
        except TimeoutError:
            raise NotYetApplied("the turn is on disk and not yet readable", retry_after_s=1) from None
        finally:
            self._waiters.discard(waiter)
