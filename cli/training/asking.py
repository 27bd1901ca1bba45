"""Asking for a run, following it, and ending it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from cli.errors import CommandError, Exit
from cli.installation import Installation
from libs.shared.durable import write_private
from libs.shared.layout import StateFolder

if TYPE_CHECKING:
    from libs.shared.contracts.training import RunState, StartRun, TrainingRun

_LOOK_S = 1.0
_SILENT_S = 5.0
_LISTED = 50


def bring(folder: StateFolder, text: Path) -> str:
    """The text's name in the trainer's folder, into which it is copied unless it lies there. Raises CommandError."""
    try:
        content = text.read_bytes()
    except OSError as error:
        raise CommandError(f"{text} can't be read ({error.strerror})", code=Exit.USAGE) from None
    if not content.strip():
        raise CommandError(f"{text} is empty", "name a plain text in UTF-8", code=Exit.USAGE)
    texts = folder.training_texts
    if text.resolve().parent == texts.resolve():
        return text.name
    for made in (folder.training, texts):
        made.mkdir(mode=0o700, exist_ok=True)
    name = f"text-{hashlib.sha256(content).hexdigest()[:16]}.txt"
    if not (texts / name).exists():
        write_private(texts / name, content)
        owner = folder.root.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.chown(texts / name, owner.st_uid, owner.st_gid)
    return name


async def owners(installation: Installation, names: list[str]) -> tuple[str, ...]:
    """The ids of those accounts. Raises CommandError."""
    from cli.bus import as_command
    from libs.shared.contracts.accounts import READ_USER, UserRef

    if not names:
        return ()
    async with as_command(installation) as bus:
        return tuple([(await bus.request(READ_USER, UserRef(name=name))).user_id for name in names])


async def start(installation: Installation, wanted: StartRun) -> TrainingRun:
    """Raises CommandError with the trainer's reason when it can't be done."""
    from cli.bus import as_command
    from libs.shared.contracts.training import START_RUN

    async with as_command(installation) as bus:
        return await bus.request(START_RUN, wanted)


async def follow(installation: Installation, run: TrainingRun, show: Callable[[TrainingRun], None]) -> TrainingRun:
    """Shows where the run stands until it has ended; by what is told at once, and by what is kept."""
    from cli.bus import as_command
    from libs.shared.contracts.training import READ_RUN, RUN_PROGRESSED, RunProgressed, RunRef

    async with as_command(installation) as bus:
        heard_at = float("-inf")

        async def told(progressed: RunProgressed) -> None:
            nonlocal heard_at
            if progressed.run_id == run.run_id:
                heard_at = monotonic()
                show(run.model_copy(update={"state": progressed.state, "progress": progressed.progress}))

        await bus.subscribe(RUN_PROGRESSED, told)
        while not (found := await bus.request(READ_RUN, RunRef(run_id=run.run_id))).state.ended:
            if monotonic() - heard_at > _SILENT_S:  # what is kept is a little older than what was told
                show(found)
            await asyncio.sleep(_LOOK_S)
        return found


async def read(installation: Installation, run_id: str) -> TrainingRun:
    from cli.bus import as_command
    from libs.shared.contracts.training import READ_RUN, RunRef

    async with as_command(installation) as bus:
        return await bus.request(READ_RUN, RunRef(run_id=run_id))


async def every(installation: Installation, state: RunState | None) -> tuple[TrainingRun, ...]:
    """The newest first, and no more than a screen holds."""
    from cli.bus import as_command
    from libs.shared.contracts.training import LIST_RUNS, ListRuns

    async with as_command(installation) as bus:
        return (await bus.request(LIST_RUNS, ListRuns(limit=_LISTED, state=state))).runs


async def remove(installation: Installation, run_id: str) -> None:
    """Raises CommandError."""
    from cli.bus import as_command
    from libs.shared.contracts.training import REMOVE_RUN, RunRef

    async with as_command(installation) as bus:
        await bus.request(REMOVE_RUN, RunRef(run_id=run_id))


async def cancel(installation: Installation, run_id: str) -> TrainingRun:
    from cli.bus import as_command
    from libs.shared.contracts.training import CANCEL_RUN, RunRef

    async with as_command(installation) as bus:
        return await bus.request(CANCEL_RUN, RunRef(run_id=run_id))
