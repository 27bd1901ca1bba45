"""``mongars service`` and ``mongars uninstall``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, Exit
from cli.lock import exclusively
from cli.options import JsonOption, StateOption, answer, chosen_folder, chosen_installation, line
from cli.progress import Progress

app = typer.Typer(help="Let systemd start it with the machine.", no_args_is_help=True)
_UserOption = Annotated[
    bool | None,
    typer.Option("--user/--system", help="A service of your own, or of the machine [the machine's for root]."),
]
_NameOption = Annotated[
    str, typer.Option("--service-user", metavar="NAME", help="With --system: the system user that it runs as.")
]
_RootOption = Annotated[
    Path, typer.Option("--root", metavar="DIR", help="Work below DIR instead of /: for images and packages.")
]


@app.command("install")
def install(
    own: _UserOption = None,
    service_user: _NameOption = "mongars",
    root: _RootOption = Path("/"),
    print_it: Annotated[bool, typer.Option("--print", metavar="", help="Print the unit, and do nothing.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a systemd unit for the installation, enable and start it.

    The machine's service runs as a system user of its own, who can do nothing else and to whom the state folder then
    belongs; it is added when it is missing. Stop the installation first.
    """
    from cli.service import installing

    wanted = installing.plan(chosen_folder(state), system=_system(own), user=service_user, root=root)
    if print_it:
        line(wanted.text())
        return
    _require_stopped(state)
    started = installing.install(wanted, Progress(quiet=as_json))
    if as_json:
        answer({"unit": str(wanted.path), "started": started})
    elif started:
        line(f"Wrote {wanted.path}; it runs, and starts with the machine.")
        if wanted.service.user is None:
            line("  so that it does without a login too: loginctl enable-linger")
    else:
        line(f"Wrote {wanted.path}; systemd doesn't run here, so nothing was started.")


@app.command("remove")
def remove(
    own: _UserOption = None,
    service_user: _NameOption = "mongars",
    root: _RootOption = Path("/"),
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the service and remove its unit; the installation stays as it is."""
    from cli.service import installing

    wanted = installing.plan(chosen_folder(state), system=_system(own), user=service_user, root=root)
    removed = installing.remove(wanted, Progress(quiet=as_json))
    if as_json:
        answer({"unit": str(wanted.path), "removed": removed})
    else:
        line(f"Removed {wanted.path}." if removed else "There was no service.")


def uninstall(
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Don't ask.")] = False,
    keep_users: Annotated[
        bool, typer.Option("--keep-users", metavar="", help="Leave the system users that were added.")
    ] = False,
    service_user: _NameOption = "mongars",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List everything of the installation on this machine, ask, and remove it: its memories and keys too."""
    from cli.service import removal

    installation = chosen_installation(state, by_root=True, node_too=True)
    found = removal.found(installation, keep_users=keep_users, service_user=service_user)
    if not as_json:
        line("This will be removed, and can't be brought back but from a backup:")
        line("\n".join(f"  - {row}" for row in found.listed()))
        line("What stays: the code and its .venv, backups kept elsewhere, and what other machines trust (mongars-ca).")
    if not yes and not typer.confirm("Remove all of it?", default=False, err=True):
        raise CommandError("nothing was removed", code=Exit.REFUSED)
    progress = Progress(quiet=as_json)
    removal.end_services(found, progress)
    with exclusively(installation.folder):
        kept = removal.remove(found, progress)
    if as_json:
        answer({"removed": list(found.listed()), "kept": kept})
        return
    line("Removed.")
    for row in kept:
        line(f"  kept: {row}")


def _system(own: bool | None) -> bool:
    import os

    return os.geteuid() == 0 if own is None else not own


def _require_stopped(state: Path | None) -> None:
    from cli.installation import find
    from cli.supervision.place import supervisor_of

    installation = find(chosen_folder(state), by_root=True)
    if installation is not None and supervisor_of(installation).processes() is not None:
        raise CommandError("the installation is running", "stop it first: mongars down")
