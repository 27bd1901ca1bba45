"""``mongars chat``: talking with the assistant from a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, Exit
from cli.listing import printable, shortened
from cli.options import JsonOption, StateOption, answer, chosen_installation, line
from cli.own_key import own_key

if TYPE_CHECKING:
    from cli.conversation import Conversation
    from cli.gateway import Gateway

_KEY_NAME = "mongars chat"
_SHOWN = 160
"""Characters of a source."""
_THUMBS: dict[str, str | None] = {"/up": "up", "/down": "down", "/unrate": None}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def chat(
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="Say this, print the answer, end.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", metavar="NAME", help="Whose memory; the account is made when there is none."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="Answer with this model.")] = None,
    conversation: Annotated[
        str | None, typer.Option("--conversation", metavar="ID", help="Join this conversation.")
    ] = None,
    temporary: Annotated[bool, typer.Option("--temporary", metavar="", help="Neither recall nor remember.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", metavar="", help="Show which memories each answer was given.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk with the assistant; answers appear as they are made. An empty line or Ctrl-D ends.

    /up and /down give the last answer a thumb, /unrate takes it back. A thumb permits nothing: what may be trained
    on is said by mongars consents.
    """
    from cli.conversation import Conversation
    from cli.gateway import Gateway

    installation = chosen_installation(state)
    if as_json and message is None:
        raise CommandError("--json answers one message", "say it with --message", code=Exit.USAGE)
    if message is not None and not message.strip():
        raise CommandError("--message is empty", "say something", code=Exit.USAGE)
    with own_key(installation, user, _KEY_NAME, make_user=True) as key:
        talk = Conversation(installation.marker.ports.http, key.secret, model, conversation, not temporary, explain)
        if message is None:
            _talk(talk, Gateway(installation.marker.ports.http, key))
        elif as_json:
            text = "".join(talk.say(message))
            told = {
                "answer": text,
                "conversation_id": talk.conversation_id,
                "turn_id": talk.turn_id,
                "degraded": talk.degraded,
                "remote": talk.remote,
                "reasoning": "".join(talk.reasoning) or None,
            }
            answer(told | ({"recalled": talk.recalled} if explain else {}))
        else:
            _print(talk, message)


def _talk(talk: Conversation, gateway: Gateway) -> None:
    told: str | None = None
    while text := _asked():
        if text in _THUMBS:
            sys.stderr.write(f"({_rated(talk, gateway, _THUMBS[text])})\n")
            continue
        _print(talk, text)
        if talk.degraded and talk.degraded != told:
            told = talk.degraded
            sys.stderr.write(f"(degraded: {told})\n")


def _rated(talk: Conversation, gateway: Gateway, thumb: str | None) -> str:
    """What became of the last answer's thumb, in a few words: the talk goes on in any case."""
    from cli.gateway import Refused
    from cli.rating import rate

    if talk.turn_id is None:
        return "there is no answer here that was kept, so none to rate"
    try:
        return rate(gateway, talk.turn_id, thumb)
    except Refused as error:
        return f"not rated: {error}"


def _asked() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _print(talk: Conversation, text: str) -> None:
    """The thinking goes dimmed to a terminal, and nowhere else: who reads a pipe wants the answer."""
    thinking = False

    def think(piece: str) -> None:
        nonlocal thinking
        sys.stderr.write((_DIM if not thinking else "") + printable(piece))
        sys.stderr.flush()
        thinking = True

    talk.heard = think if sys.stderr.isatty() else None
    for piece in talk.say(text):
        if thinking:
            sys.stderr.write(f"{_PLAIN}\n\n")
            sys.stderr.flush()
            thinking = False
        sys.stdout.write(printable(piece))
        sys.stdout.flush()
    if thinking:
        sys.stderr.write(_PLAIN)
    line("")
    if talk.remote:
        sys.stderr.write(f"(answered by {printable(talk.remote)}, a remote server)\n")
    for memory in talk.recalled:
        sys.stderr.write(f"  {memory['score']:.2f}  {memory['at'][:10]}  {shortened(memory['text'], _SHOWN)}\n")
