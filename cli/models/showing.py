"""How a download is shown: a moving bar on a terminal, a line at its begin and end anywhere else; sizes in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from cli.models.transfer import Watch


def on_stderr(*, quiet: bool) -> Callable[[str], AbstractContextManager[Watch]]:
    """What shows one file by its name; ``quiet`` shows nothing."""

    @contextmanager
    def show(label: str) -> Iterator[Watch]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        moving = console.is_terminal and not quiet
        if not moving:
            console.print(f"Bringing {label}", markup=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, disable=not moving) as progress:
            task = progress.add_task(label, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    return show


def size(count: int | None) -> str:
    """Bytes as a person reads them."""
    if count is None:
        return "?"
    if count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    if count < 2**30:
        return f"{count / 2**20:.0f} MiB"
    return f"{count / 2**30:.2f} GiB"
