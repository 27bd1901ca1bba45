"""``mongars consents``: which of one's conversations may be trained on, who may use what was trained on them, and
whether one's questions may be replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.listing import day_of, shortened, show
from cli.options import JsonOption, StateOption, UserOption, answer, line, own_gateway, path_part

app = typer.Typer(
    help="What of yours may be used for training and tuning: nothing, until you allow it. List, allow, withdraw.",
    no_args_is_help=True,
)
ConversationArgument = Annotated[str, typer.Argument(metavar="CONVERSATION", help="Its id, as consents list shows it.")]
SwitchArgument = Annotated[Literal["on", "off"], typer.Argument(metavar="on|off")]
_KEY_NAME = "mongars consents"
_PATH = "/api/v1/consents"
_ROW = 60


@app.command("list")
def list_consents(
    allowed: Annotated[
        bool, typer.Option("--allowed", metavar="", help="Only the conversations that may be trained on.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many conversations, last used first.")
    ] = 50,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what you allow: for conversations to come, for others' use, and for each conversation."""
    with own_gateway(state, user, _KEY_NAME) as gateway:
        choices = gateway.ask("GET", _PATH, limit=1)["choices"]
        found = gateway.pages(_PATH, "conversations", most=limit, allowed=True if allowed else None)
    if as_json:
        answer({"choices": choices, "conversations": found})
        return
    line(f"conversations to come   {_future(choices)}")
    line(f"adapters of your words  {'others may use them' if choices['share_adapters'] else 'yours alone'}")
    line(f"tuning recall           {'your questions may be replayed' if choices['tuning'] else 'not allowed'}")
    show(
        ("conversation", "last used", "training", "messages", "title"),
        [
            (
                one["conversation_id"],
                day_of(one["updated_at"]),
                _standing(one),
                str(one["messages"]),
                shortened(one["title"] or "-", _ROW),
            )
            for one in found
        ],
        nothing="no conversation may be trained on" if allowed else "there is no conversation yet",
    )


def _future(choices: dict[str, Any]) -> str:
    return f"allowed since {day_of(choices['future_since'])}" if choices["future"] else "not allowed"


def _standing(one: dict[str, Any]) -> str:
    if not one["remembered"]:
        return "no (not remembered)"
    if one["decided"]:
        return "allowed" if one["allowed"] else "refused"
    return "allowed (by default)" if one["allowed"] else "no"


@app.command("allow")
def allow(
    conversation: ConversationArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Allow training on one conversation: what you said in it, and the answers that you didn't rate down."""
    _decide(conversation, True, user, state, as_json)


@app.command("withdraw")
def withdraw(
    conversation: ConversationArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Take it back, at once. Adapters that were trained on the conversation are marked tainted, and named."""
    _decide(conversation, False, user, state, as_json)


def _decide(conversation: str, allowed: bool, user: str | None, state: Path | None, as_json: bool) -> None:
    where = f"{_PATH}/{path_part(conversation, 'conversation', 'mongars consents list')}"
    with own_gateway(state, user, _KEY_NAME) as gateway:
        done = gateway.ask("PUT", where, {"allowed": allowed})
    if as_json:
        answer(done)
        return
    if done["consent"]["allowed"]:
        line(f"{conversation} may be trained on.")
    elif allowed:
        line(f"{conversation} is allowed, and isn't trained on as long as it is not remembered.")
    else:
        line(f"{conversation} may not be trained on.")
    _tell_tainted(done)


@app.command("future")
def future(
    switch: SwitchArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Allow training on conversations that begin from now on; off withdraws those that only this had allowed."""
    done = _choose({"future": switch == "on"}, user, state)
    if as_json:
        answer(done)
        return
    line(f"Conversations to come: {_future(done['choices'])}.")
    _tell_tainted(done)


@app.command("share")
def share(
    switch: SwitchArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Let others use an adapter that your words trained, or keep it to those whose words they are."""
    done = _choose({"share_adapters": switch == "on"}, user, state)
    if as_json:
        answer(done)
        return
    shared = done["choices"]["share_adapters"]
    line(f"Adapters of your words: {'others may use them, if all agree' if shared else 'yours alone'}.")


@app.command("tuning")
def tuning(
    switch: SwitchArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Let your questions be replayed, on this machine alone, to tune how memories are found; off ends it at once."""
    done = _choose({"tuning": switch == "on"}, user, state)
    if as_json:
        answer(done)
        return
    allowed = done["choices"]["tuning"]
    line(f"Tuning recall: {'your questions may be replayed on this machine' if allowed else 'not allowed'}.")


@app.command("adapters")
def adapters(
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many, by name.")] = 50,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the adapters that your words trained, and which of them are tainted."""
    with own_gateway(state, user, _KEY_NAME) as gateway:
        found = gateway.pages(f"{_PATH}/adapters", "adapters", most=limit)
    if as_json:
        answer(found)
        return
    show(
        ("adapter", "trained", "who may use it", "tainted since"),
        [
            (
                one["adapter"],
                day_of(one["recorded_at"]),
                "everybody" if one["shared"] else f"you and {one['others']} more" if one["others"] else "you",
                day_of(one["tainted_since"]) if one["tainted_since"] else "-",
            )
            for one in found
        ],
        nothing="nothing was trained on your words",
    )


def _choose(changes: dict[str, bool], user: str | None, state: Path | None) -> dict[str, Any]:
    with own_gateway(state, user, _KEY_NAME) as gateway:
        done: dict[str, Any] = gateway.ask("PATCH", _PATH, changes)
    return done


def _tell_tainted(done: dict[str, Any]) -> None:
    if done["tainted_adapters"]:
        line(f"Trained on it, and tainted now: {', '.join(done['tainted_adapters'])}.")
