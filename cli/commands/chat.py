"""``mongars chat``: talking with the assistant from a terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from cli.conversation import Conversation

_KEY_NAME = "mongars chat"
_KEY_LIFE = "1d"
"""A chat that was killed could not revoke its key: it ends by itself."""


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
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk with the assistant; answers appear as they are made. An empty line or Ctrl-D ends."""
    from cli.conversation import Conversation

    installation = chosen_installation(state)
    if as_json and message is None:
        raise CommandError("--json answers one message", "say it with --message", code=Exit.USAGE)
    if message is not None and not message.strip():
        raise CommandError("--message is empty", "say something", code=Exit.USAGE)
    with _key(installation, user) as key:
        talk = Conversation(installation.marker.ports.http, key, model, conversation, keep=not temporary)
        if message is None:
            _talk(talk)
        elif as_json:
            text = "".join(talk.say(message))
            answer({"answer": text, "conversation_id": talk.conversation_id, "degraded": talk.degraded})
        else:
            _print(talk, message)


def _talk(talk: Conversation) -> None:
    told: str | None = None
    while text := _asked():
        _print(talk, text)
        if talk.degraded and talk.degraded != told:
            told = talk.degraded
            sys.stderr.write(f"(degraded: {told})\n")


def _asked() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        return ""


def _print(talk: Conversation, text: str) -> None:
    for piece in talk.say(text):
        sys.stdout.write(piece)
        sys.stdout.flush()
    line("")


@contextmanager
def _key(installation: Installation, user: str | None) -> Iterator[str]:
    """A key for this chat alone, revoked at its end."""
    user_id, key_id, secret = asyncio.run(_make_key(installation, user))
    try:
        yield secret
    finally:
        asyncio.run(_revoke(installation, user_id, key_id))


async def _make_key(installation: Installation, name: str | None) -> tuple[str, str, str]:
    from datetime import UTC, datetime

    from cli import accounts
    from cli.bus import as_command
    from libs.shared.contracts.common import MemoryMode

    async with as_command(installation) as bus:
        if name is None:
            user = accounts.only([u for u in await accounts.all_users(bus) if not u.disabled])
        else:
            user = await accounts.ensure_user(bus, name)
        expires_at = accounts.expiry(_KEY_LIFE, datetime.now(UTC))
        made, key = await accounts.create_key(bus, user, _KEY_NAME, MemoryMode.READ_WRITE, expires_at)
    return user.user_id, key.key_id, made.secret


async def _revoke(installation: Installation, user_id: str, key_id: str) -> None:
    from cli.bus import as_command
    from libs.shared.contracts.accounts import REVOKE_KEY, KeyRef

    async with as_command(installation) as bus:
        await bus.request(REVOKE_KEY, KeyRef(user_id=user_id, key_id=key_id))
