"""``mongars trust``: how other machines come to trust what ``up --lan`` serves."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.lan.telling import described, told
from cli.options import JsonOption, StateOption, answer, chosen_installation, line


def trust(
    certificate: Annotated[
        bool,
        typer.Option("--certificate", metavar="", help="Print the authority's certificate alone, to be carried there."),
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where other machines reach the installation, and how they come to trust it."""
    from cli.lan.opening import authority_of

    installation = chosen_installation(state)
    if certificate:
        sys.stdout.write(authority_of(installation.folder).certificate.decode())
        return
    if installation.marker.lan is None:
        raise CommandError("the installation serves this machine alone", "let others in with: mongars up --lan")
    if as_json:
        answer(described(installation))
    else:
        line("\n".join(told(installation)))
