"""``python -m cli.caretaker STATE``: what the supervisor runs; ends on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from cli.caretaker.roster import DUTIES
from cli.caretaker.rounds import Rounds
from cli.caretaker.saying import say
from libs.shared.layout import StateFolder


async def look_after(folder: StateFolder) -> None:
    """Returns when told to stop."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    say("caretaker_started", duties=len(DUTIES))
    await Rounds(folder, DUTIES).go(stopping)
    say("caretaker_stopped")


if __name__ == "__main__":
    asyncio.run(look_after(StateFolder(Path(sys.argv[1]))))
