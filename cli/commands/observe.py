"""``mongars status``, ``logs`` and ``version``: looking, without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import log_lines
from cli.backups.state import backup_state, backup_words
from cli.caretaker import record
from cli.degraded import NOTICES, explained
from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.listing import show_facts
from cli.logs import follow, last_lines
from cli.options import JsonOption, StateOption, answer, chosen_installation, line
from cli.probes import Readiness, readiness
from cli.supervision.client import Process
from cli.supervision.place import as_meant, supervisor_of
from cli.supervision.programs import CARETAKER, log_file
from cli.version import product_version

if TYPE_CHECKING:
    from rich.table import Table


_COLOURS = {"running": "green", "starting": "yellow", "stopping": "yellow", "stopped": "dim", "closed": "dim"}


def status(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what runs, since how many restarts, and what is degraded.

    Exit code 0: ready; 3: not running; 4: running, not ready.
    """
    installation = chosen_installation(state, node_too=True)
    if installation.marker.joined is not None:
        from cli.commands.joining import node_status

        node_status(installation, as_json=as_json)
        return
    processes = supervisor_of(installation).processes()
    said = readiness(installation.marker.ports.http) if processes is not None else None
    processes = as_meant(installation, processes) if processes is not None else None
    if as_json:
        answer(described(installation, processes, said))
    else:
        _show(installation, processes, said)
    if processes is None:
        raise typer.Exit(Exit.NOT_RUNNING)
    if said is None or not said.ready:
        raise typer.Exit(Exit.NOT_READY)


def logs(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="A service, broker, database or supervisor.")],
    state: StateOption = None,
    follow_it: Annotated[
        bool, typer.Option("--follow", "-f", metavar="", help="Go on with what is printed from now.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many of the last lines.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Print what a part of the installation logged, for people; with --json one JSON object a line."""
    installation = chosen_installation(state, node_too=True)
    path = log_file(installation.folder.logs, service)
    known = sorted(found.stem for found in installation.folder.logs.glob("*.log"))
    if service not in known:
        raise CommandError(f"there is no log of {service}", f"one of: {', '.join(known)}" if known else "mongars up")
    show = line_shower(as_json)
    for text in last_lines(path, lines):
        show(text)
    if follow_it:
        for text in follow(path):
            show(text)


def line_shower(as_json: bool) -> Callable[[str], None]:
    """What prints a line of a log, for programs or for people."""
    from rich.console import Console
    from rich.text import Text

    if as_json:
        return lambda text: line(log_lines.as_json(text))
    console = Console(highlight=False, soft_wrap=True)
    return lambda text: console.print(Text.assemble(*log_lines.readable(text)))


def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    if as_json:
        answer({"version": product_version()})
    else:
        line(product_version())


def described(
    installation: Installation, processes: dict[str, Process] | None, said: Readiness | None
) -> dict[str, Any]:
    """The answer of ``status --json``."""
    return {
        "state": str(installation.folder.root),
        "version": installation.marker.product_version,
        "running": processes is not None,
        "ready": bool(said and said.ready),
        "http": installation.http_url,
        "nats": {"url": installation.nats_url, "operator_nkey": str(installation.folder.nkey("operator"))},
        "database": {"url": installation.database_url, "external": installation.marker.database is not None},
        "services": {name: _row(process) for name, process in (processes or {}).items() if name != CARETAKER},
        "backup": backup_state(installation.folder),
        "caretaker": _caretaker(installation, (processes or {}).get(CARETAKER)),
        "dependencies": said.dependencies if said else {},
        "degraded": list(said.degraded) if said else [],
    }


def _row(process: Process) -> dict[str, Any]:
    row: dict[str, Any] = {"pid": process.pid or None, "state": process.state, "restarts": process.restarts}
    return row | ({"problem": process.problem} if process.problem and not process.alive else {})


def _caretaker(installation: Installation, process: Process | None) -> dict[str, Any] | None:
    """Not among the services: nothing that is asked of the installation needs it."""
    return _row(process) | {"duties": record.read(installation.folder)} if process else None


def _show(installation: Installation, processes: dict[str, Process] | None, said: Readiness | None) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(_headline(installation, processes, said))
    if processes:
        console.print()
        console.print(_parts(processes))
        console.print()
    show_facts(console, _facts(installation, said))


def _headline(installation: Installation, processes: dict[str, Process] | None, said: Readiness | None) -> str:
    if processes is None:
        return "[yellow]○[/] monGARS is not running; start it with: mongars up"
    if said is not None and said.ready:
        return f"[green]●[/] monGARS is ready: {installation.http_url}"
    return f"[red]●[/] monGARS runs, and is not ready: {installation.http_url}"


def _parts(processes: dict[str, Process]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    for title in ("", "part", "state"):
        table.add_column(title)
    for title in ("pid", "restarts"):
        table.add_column(title, justify="right")
    for name, process in processes.items():
        mark = f"[{_COLOURS.get(process.state, 'red')}]●[/]"
        table.add_row(mark, name, process.state, str(process.pid or "-"), str(process.restarts))
    return table


def _facts(installation: Installation, said: Readiness | None) -> Iterator[tuple[str, str]]:
    yield "folder", str(installation.folder.root)
    if installation.marker.database is not None:
        yield "database", installation.marker.database
    yield "backup", backup_words(installation.folder)
    for name, turn in record.read(installation.folder).items():
        if not turn.get("ok"):
            yield "duty", f"{name} failed: {turn.get('detail')}"
    for reason in said.missing if said else ():
        yield "not well", reason
    for reason in said.degraded if said else ():
        yield "notice" if reason in NOTICES else "degraded", explained(reason)
