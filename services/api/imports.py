"""Handing turns to cognition, with patience while it restarts: a turn is imported once by its id, so that is safe."""

from __future__ import annotations

import asyncio
from time import monotonic

from libs.shared.contracts.memory import IMPORT_TURNS, Imported, ImportedTurn, ImportTurns
from libs.shared.errors import Unavailable
from services.api.parts import Parts
from services.api.turns import PAUSE_S


async def import_turns(parts: Parts, user_id: str, turns: tuple[ImportedTurn, ...]) -> Imported:
    """Raises as the contract does, Unavailable only after ``restart_patience_s`` without anybody there."""
    until = monotonic() + parts.settings.restart_patience_s
    while True:
        try:
            return await parts.bus.request(IMPORT_TURNS, ImportTurns(user_id=user_id, turns=turns))
        except Unavailable:
            if monotonic() + PAUSE_S >= until:
                raise
            await asyncio.sleep(PAUSE_S)
