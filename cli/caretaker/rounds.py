"""Going round the duties until told to stop: each on its own, so that one that hangs or fails holds up no other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from cli.caretaker import record
from cli.caretaker.duties import Duty, Turn, taken
from cli.caretaker.saying import say
from libs.shared.layout import StateFolder


class Rounds:
    """Every duty's last turn, kept in memory and written down."""

    def __init__(self, folder: StateFolder, duties: Sequence[Duty], *, clock: Callable[[], float] = time.time) -> None:
        self.turns: dict[str, Turn] = {}
        self._folder = folder
        self._duties = duties
        self._clock = clock

    async def go(self, stopping: asyncio.Event) -> None:
        """Until ``stopping``; a turn that is under way is cancelled then."""
        tasks = [asyncio.create_task(self._repeat(duty)) for duty in self._duties]
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, duty: Duty) -> None:
        await asyncio.sleep(duty.first_after_s)
        while True:
            self._note(duty, await taken(duty, self._folder, self._clock))
            await asyncio.sleep(duty.period_s)

    def _note(self, duty: Duty, turn: Turn) -> None:
        before = self.turns.get(duty.name)
        self.turns[duty.name] = turn
        if not turn.ok or before is None or not before.ok:
            say("duty_done" if turn.ok else "duty_failed", duty=duty.name, detail=turn.detail)
        with suppress(OSError):  # a full disk is what a duty may be there to tell of
            record.write(self._folder, self.turns)
