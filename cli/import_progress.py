"""Following an import that tells how it goes: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cli.errors import CommandError, Exit

_AGAIN = "import the same file again: it goes on where it stopped"


def followed(events: Iterable[dict[str, Any]], *, quiet: bool) -> dict[str, Any]:
    """What ``done`` told. Raises CommandError when the import broke off."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=None)
        for event in events:
            if event["event"] == "read":
                console.print(_read(event), markup=False)
                progress.update(task, description="importing", total=event["turns"])
            elif event["event"] == "progress":
                progress.update(task, completed=event["imported"] + event["present"])
            elif event["event"] == "failed":
                raise CommandError(f"the import broke off: {event['detail']}", _AGAIN, code=Exit.REFUSED)
            else:
                return event
    raise CommandError("the import broke off", _AGAIN)


def _read(event: dict[str, Any]) -> str:
    left_out = f"; {event['left_out']} have dates that can't be, and are left out" if event["left_out"] else ""
    return f"{event['kind']}: {event['conversations']} conversations, {event['turns']} turns{left_out}"
