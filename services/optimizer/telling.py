"""Telling other nodes what this one tried and what is kept: after each cycle, and again now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.ledger import LIST_CHANGES, Change, ChangeKind, ChangeState, ListChanges
from libs.shared.contracts.sleep import MOST_TRIED, OPTIMISATION, Cycle, Kept, Optimisation, Tried
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.optimizer.kept_files import read_kept, write_kept

AGAIN_S = 600.0

log = get_logger(__name__)


def kept_of(changes: Iterable[Change], actor: str) -> tuple[Kept, ...]:
    """Settings that an optimizer proposed and that were kept, each once. Pure; ``changes`` newest first."""
    found: dict[str, Kept] = {}
    for change in changes:
        if change.kind is ChangeKind.SETTING and change.proposed.actor == actor and change.key not in found:
            measured = next((step.measured for step in change.steps if step.measured), ())
            found[change.key] = Kept(key=change.key, value=change.after, change_id=change.change_id, measured=measured)
    return tuple(found.values())[:MOST_TRIED]


class Telling:
    """``boot`` tells this process's numbers from those of another. What was told last lies in a file."""

    def __init__(self, bus: Bus, node: str, boot: str, path: Path, actor: str = "optimizer") -> None:
        self._bus = bus
        self._actor = actor
        self._path = path
        self._sequence = 0
        empty = Optimisation(node=node, boot=boot, sequence=0, at=datetime.now(UTC))
        kept = read_kept(path, Optimisation, empty)
        self._last = kept.model_copy(update={"node": node, "boot": boot})

    async def cycle(self, cycle: Cycle, tried: tuple[Tried, ...]) -> None:
        """Of a cycle that has ended."""
        about = {"cycle_id": cycle.cycle_id, "tried": tried[:MOST_TRIED], "energy": cycle.energy}
        self._last = self._last.model_copy(update=about)
        await self.tell()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(AGAIN_S)
            if self._last.cycle_id is not None or self._last.kept:
                await self.tell()

    async def tell(self) -> None:
        """Now; it holds nothing up."""
        try:
            changes = await self._bus.request(LIST_CHANGES, ListChanges(state=ChangeState.KEPT, steps=True, limit=100))
            self._last = self._last.model_copy(update={"kept": kept_of(changes.changes, self._actor)})
        except ServiceError as error:
            log.debug("kept_changes_unread", code=error.code)
        self._sequence += 1
        self._last = self._last.model_copy(update={"sequence": self._sequence, "at": datetime.now(UTC)})
        write_kept(self._path, self._last)
        try:
            await self._bus.broadcast(OPTIMISATION, self._last)
        except ServiceError as error:
            log.debug("optimisation_untold", code=error.code)
