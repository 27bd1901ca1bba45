"""``mongars join``: makes this machine a node of an installation on another one."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, Exit
from cli.installation import Installation, find
from cli.interrupting import signals_interrupt
from cli.lock import exclusively
from cli.options import JsonOption, StateOption, answer, chosen_folder, line
from cli.progress import Progress
from cli.settings import get_settings
from cli.version import product_version
from libs.shared.layout import StateFolder

if TYPE_CHECKING:
    from cli.joining.code import JoinCode

_LOOK_EVERY_S = 2.0


def join(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="From mongars nodes invite on the installation's machine; '-' asks for it, or reads it from a pipe.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="This node's name there; by itself this machine's.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST[:PORT]",
            help="With CODE: an address to try first. Without, on a node: where its installation is found now.",
        ),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Join an installation on another machine: inference alone runs here, and answers for it.

    Give - for the code and then the code itself: everybody who is logged in here sees the arguments of a command.

    Nothing of what is said is kept here. The key is made here and stays here; mongars down stops the node, mongars up
    starts it again, mongars service install does so at each start of the machine. docs/nodes.md says more.
    """
    folder = chosen_folder(state)
    progress = Progress(quiet=as_json)
    with signals_interrupt():
        if code is not None:
            _tell(_join(folder, code, name, address, progress), as_json)
        elif address is not None:
            _tell(_move(folder, address, progress), as_json)
        else:
            raise CommandError("there is no code", "mongars nodes invite prints one, there", code=Exit.USAGE)


def up_node(installation: Installation, *, detach: bool, as_json: bool) -> None:
    """``mongars up`` on a node."""
    from cli.joining.node import start
    from cli.supervision.place import supervisor_of

    progress = Progress(quiet=as_json)
    with signals_interrupt():
        ours = supervisor_of(installation).processes() is None
        try:
            with exclusively(installation.folder):
                started = start(_node_in(installation.folder), progress, get_settings().environment)
            _tell_started(started.installation, started.reached, as_json)
            if ours and not detach:
                line("Ctrl-C stops it.")
                while supervisor_of(installation).processes() is not None:
                    time.sleep(_LOOK_EVERY_S)
        except (CommandError, KeyboardInterrupt) as error:
            if ours:
                _stop(installation, progress)
            if isinstance(error, CommandError):
                raise
    if ours and not detach:
        line("Stopped.")


def node_status(installation: Installation, *, as_json: bool) -> None:
    """``mongars status`` on a node; its exit codes are those of an installation."""
    from cli.joining.asking import greeted
    from cli.supervision.place import supervisor_of
    from libs.shared.contracts.base import Principal

    joined = installation.marker.joined
    assert joined is not None
    process = (supervisor_of(installation).processes() or {}).get(Principal.INFERENCE.value)
    behind = process is not None and installation.marker.product_version != product_version()
    greeting = greeted(joined.addresses, installation.folder.nodes_authority.read_text())
    row = {"pid": process.pid or None, "state": process.state, "restarts": process.restarts} if process else None
    told = {
        "node_id": joined.node_id,
        "state": str(installation.folder.root),
        "version": installation.marker.product_version,
        "restart_needed": behind,
        "running": process is not None,
        "services": {Principal.INFERENCE.value: row} if row else {},
        "installation": {"reached": greeting[0], "version": greeting[1].version} if greeting else None,
        "addresses": list(joined.addresses),
    }
    if as_json:
        answer(told)
    else:
        line(f"node       {joined.node_id}, {row['state'] if row else 'not running: mongars up'}")
        line(f"folder     {installation.folder.root}")
        there = f"answers at {greeting[0]}" if greeting else f"does not answer at {', '.join(joined.addresses)}"
        line(f"its installation {there}")
    if behind and not as_json:
        line(f"inference still runs as {installation.marker.product_version}: mongars up starts {product_version()}")
    same = greeting is not None and greeting[1].version == product_version()
    if greeting is not None and not same and not as_json:
        line(f"it runs monGARS {greeting[1].version}, and this machine {product_version()}: install the same here")
    if process is None:
        raise typer.Exit(Exit.NOT_RUNNING)
    if not process.alive or not same or behind:
        raise typer.Exit(Exit.NOT_READY)


def _join(
    folder: StateFolder, code: str, name: str | None, address: str | None, progress: Progress
) -> tuple[Installation, str | None]:
    from cli.creation import prepare_folder
    from cli.joining import node

    _require_none(folder)
    invitation = invited(_asked_for() if code == "-" else code, address)
    prepare_folder(folder)
    environment = get_settings().environment
    with exclusively(folder):
        _require_none(folder)
        with progress.step("Joining"):
            installation = node.make(folder, invitation, name, environment)
        started = node.start(installation, progress, environment)
    return started.installation, started.reached


def _require_none(folder: StateFolder) -> None:
    if find(folder) is not None:
        raise CommandError(
            f"there is an installation, or a node, in {folder.root} already",
            "name another folder with --state DIR, or remove it: mongars down, then mongars uninstall",
        )


def invited(code: str, address: str | None) -> JoinCode:
    """What the code says, with ``address`` (of --address) tried first. Raises CommandError."""
    from cli.joining import asking
    from cli.joining.code import decoded

    try:
        invitation = decoded(code)
    except ValueError as error:
        raise CommandError(f"this is no whole code: {error}", "copy it again, in one piece", code=Exit.USAGE) from None
    if address is None:
        return invitation
    return invitation.model_copy(update={"addresses": (asking.whole(address), *invitation.addresses)})


def _asked_for() -> str:
    if sys.stdin.isatty():
        typer.echo("Code: ", nl=False, err=True)
    return sys.stdin.readline()


def _move(folder: StateFolder, address: str, progress: Progress) -> tuple[Installation, str | None]:
    from cli.joining import node
    from cli.stop import stop

    _node_in(folder)
    with exclusively(folder):
        installation = node.found_at(_node_in(folder), address)
        stop(installation, progress)
        started = node.start(installation, progress, get_settings().environment)
    return started.installation, started.reached


def _node_in(folder: StateFolder) -> Installation:
    """Raises CommandError where there is none."""
    found = find(folder)
    if found is None or found.marker.joined is None:
        raise CommandError(f"{folder.root} is no node of an installation", "join one with: mongars join CODE")
    return found


def _stop(installation: Installation, progress: Progress) -> None:
    from cli.stop import stop

    with exclusively(installation.folder):
        stop(installation, progress)


def _tell(joined: tuple[Installation, str | None], as_json: bool) -> None:
    _tell_started(*joined, as_json)


def _tell_started(installation: Installation, reached: str | None, as_json: bool) -> None:
    joined = installation.marker.joined
    assert joined is not None
    if as_json:
        answer({"node_id": joined.node_id, "state": str(installation.folder.root), "reached": reached})
        return
    if reached is None:
        line(
            f"{joined.node_id} runs, and goes on trying to reach its installation, which does not answer at "
            f"{', '.join(joined.addresses)}. Is it elsewhere now? mongars join --address HOST"
        )
    else:
        line(f"{joined.node_id} is a node of the installation at {reached}.")
    line("To have it start with this machine: mongars down, then mongars service install")
