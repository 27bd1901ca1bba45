"""``mongars ratings``: thumbs on the answers that one was given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.listing import day_of, show
from cli.options import JsonOption, StateOption, UserOption, answer, line, own_gateway, path_part

app = typer.Typer(
    help="Thumbs on answers: list, up, down, clear. They permit no training: mongars consents does.",
    no_args_is_help=True,
)
TurnArgument = Annotated[
    str,
    typer.Argument(metavar="TURN", help="As chat --json and ratings list show it; or the id of the answer itself."),
]
_KEY_NAME = "mongars ratings"


@app.command("list")
def list_ratings(
    thumb: Annotated[
        Literal["up", "down"] | None, typer.Option("--thumb", metavar="up|down", help="Only these.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many, newest first.")] = 50,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List your thumbs, newest first."""
    from cli.rating import PATH

    with own_gateway(state, user, _KEY_NAME) as gateway:
        found = gateway.pages(PATH, "ratings", most=limit, thumb=thumb)
    if as_json:
        answer(found)
        return
    show(
        ("turn", "conversation", "date", "thumb"),
        [(one["turn_id"], one["conversation_id"], day_of(one["at"]), one["thumb"]) for one in found],
        nothing="no answer was rated yet; in mongars chat, /up and /down rate the last one",
    )


@app.command("up")
def up(turn: TurnArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Say that an answer was good."""
    _rate(turn, "up", user, state, as_json)


@app.command("down")
def down(turn: TurnArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Say that an answer was not good: it is never trained on."""
    _rate(turn, "down", user, state, as_json)


@app.command("clear")
def clear(turn: TurnArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Take a thumb back."""
    _rate(turn, None, user, state, as_json)


def _rate(turn: str, thumb: str | None, user: str | None, state: Path | None, as_json: bool) -> None:
    from cli.rating import rate

    named = path_part(turn, "turn", "mongars ratings list")
    with own_gateway(state, user, _KEY_NAME) as gateway:
        done = rate(gateway, named, thumb)
    if as_json:
        answer({"turn_id": turn, "thumb": thumb})
    else:
        line(f"{turn}: {done}")
