"""Options that every command has, and how a command answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, Exit
from cli.installation import Installation, load, state_folder
from cli.listing import printable
from cli.settings import get_settings
from libs.shared.layout import StateFolder

if TYPE_CHECKING:
    from cli.gateway import Gateway

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        readable=False,  # whose folder it is, we say ourselves
        help="The installation's folder; MONGARS_STATE says the same for every command. "
        "Without either: ~/.local/state/mongars, or /var/lib/mongars for root.",
        show_default=False,
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="NAME", help="Whose memory; not needed where there is one account."),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar="", help="Answer in JSON, for scripts.")]


def chosen_folder(state: Path | None) -> StateFolder:
    """The folder that ``--state``, ``MONGARS_STATE`` or the default names."""
    return state_folder(state or get_settings().state)


def chosen_installation(state: Path | None, *, by_root: bool = False, node_too: bool = False) -> Installation:
    """Raises CommandError when there is none in the chosen folder, or another user's; ``by_root``: root may take it.

    ``node_too``: it may be a mere node of an installation elsewhere.
    """
    installation = load(state or get_settings().state, by_root=by_root)
    if installation.marker.joined is not None and not node_too:
        raise CommandError(
            f"this machine is a node ({installation.marker.joined.node_id}) of an installation on another one",
            "run this command there",
            code=Exit.REFUSED,
        )
    return installation


@contextmanager
def own_gateway(
    state: Path | None, user: str | None, key_name: str, *, make_user: bool = False, all_rights: bool = False
) -> Iterator[Gateway]:
    """The installation's HTTP surface, with a key of the command's own."""
    from cli.gateway import Gateway
    from cli.own_key import own_key

    installation = chosen_installation(state)
    with own_key(installation, user, key_name, make_user=make_user, all_rights=all_rights) as key:
        yield Gateway(installation.marker.ports.http, key)


def path_part(named: str, kind: str, shown_by: str) -> str:
    """An id as part of a path. Raises CommandError for what no id looks like: it would be another path."""
    if not named or not named.replace("-", "").replace("_", "").isalnum() or not named.isascii():
        raise CommandError(f"{named!r} is no {kind}'s id", f"see: {shown_by}", code=Exit.USAGE)
    return named


def answer(value: Any) -> None:
    """Prints ``value`` as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
    sys.stdout.flush()


def line(text: str) -> None:
    """Prints one plain line, or several."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()
