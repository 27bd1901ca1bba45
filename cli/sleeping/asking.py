"""Asking for a cycle, following it, and reading the ledger of what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from cli.errors import CommandError, Exit
from cli.installation import Installation

if TYPE_CHECKING:
    from libs.shared.contracts.ledger import Change
    from libs.shared.contracts.sleep import Cycle, Phase, SleepStatus

_LOOK_S = 1.0
_SILENT_S = 3.0


async def status(installation: Installation, cycles: int = 10) -> SleepStatus:
    from cli.bus import as_command
    from libs.shared.contracts.sleep import SLEEP_STATUS, ReadSleep

    async with as_command(installation) as bus:
        return await bus.request(SLEEP_STATUS, ReadSleep(cycles=cycles))


async def begin(installation: Installation, phases: tuple[Phase, ...]) -> Cycle:
    """Raises CommandError with the optimizer's reason."""
    from cli.bus import as_command
    from libs.shared.contracts.sleep import SLEEP_NOW, SleepNow

    async with as_command(installation) as bus:
        return await bus.request(SLEEP_NOW, SleepNow(phases=phases))


async def follow(installation: Installation, cycle: Cycle, show: Callable[[Cycle, tuple[str, ...]], None]) -> Cycle:
    """Shows how the cycle stands until it has ended; an optimizer that is killed meanwhile says so when it is back."""
    from cli.bus import as_command
    from libs.shared.contracts.sleep import SLEEP_CHANGED, SLEEP_STATUS, CycleState, ReadSleep
    from libs.shared.contracts.sleep import Cycle as Told

    async with as_command(installation) as bus:
        ended = asyncio.Event()
        latest, heard_at = cycle, float("-inf")

        async def told(now: Told) -> None:
            nonlocal latest, heard_at
            if now.cycle_id == cycle.cycle_id:
                latest, heard_at = now, monotonic()
                show(now, ())
                if now.state is not CycleState.RUNNING:
                    ended.set()

        await bus.subscribe(SLEEP_CHANGED, told)
        while not ended.is_set():
            try:
                async with asyncio.timeout(_LOOK_S):
                    await ended.wait()
            except TimeoutError:
                if monotonic() - heard_at > _SILENT_S:
                    found = await bus.request(SLEEP_STATUS, ReadSleep(cycles=50))
                    for one in (found.running, *found.cycles):
                        if one is not None and one.cycle_id == cycle.cycle_id:
                            latest = one
                            show(one, found.held_by)
                    if latest.state is not CycleState.RUNNING:
                        ended.set()
        return latest


async def ledger(installation: Installation, limit: int) -> tuple[Change, ...]:
    """The newest first."""
    from cli.bus import as_command
    from libs.shared.contracts.ledger import LIST_CHANGES, ListChanges

    async with as_command(installation) as bus:
        return (await bus.request(LIST_CHANGES, ListChanges(limit=limit))).changes


async def change(installation: Installation, change_id: str) -> Change:
    """One, with its steps. Raises CommandError where there is no such change."""
    from cli.bus import as_command
    from libs.shared.contracts.ledger import LIST_CHANGES, ListChanges

    async with as_command(installation) as bus:
        asked = ListChanges(limit=1, change_id=change_id, steps=True)
        found = (await bus.request(LIST_CHANGES, asked)).changes
    if not found:
        raise CommandError("there is no such change", "mongars sleep ledger lists them", code=Exit.REFUSED)
    return found[0]
