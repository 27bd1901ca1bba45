"""``mongars keys``: API keys for the programs that talk to the installation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.installation import Installation
from cli.listing import day, show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from libs.shared.contracts.accounts import ApiKey

app = typer.Typer(help="API keys for programs: make, list, revoke.", no_args_is_help=True)
UserOption = Annotated[str, typer.Option("--user", "-u", metavar="NAME", help="The account that the key belongs to.")]


@app.command("create")
def create(
    user: UserOption,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What the key is for, to recognise it by.")],
    memory: Annotated[
        str,
        typer.Option(
            "--memory", metavar="MODE", help="off, read (recall only) or read-write (recall, and be remembered)."
        ),
    ] = "off",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="36h, 90d, 4w or a date; without it the key does not expire."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="user, operator, admin or metrics (read /metrics alone); repeat it for several. Without it the key "
            "acts as a plain user; with it, never as more than its owner.",
        ),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, alone, this once; the account is made when there is none of that name."""
    installation = chosen_installation(state)
    secret, row = asyncio.run(_create(installation, user, name, memory, expires, scope or []))
    if as_json:
        answer({"key": secret, **row})
    else:
        line(secret)


@app.command("list")
def list_keys(user: UserOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List an account's keys, newest first; secrets are not kept and can't be shown."""
    keys = asyncio.run(_list(chosen_installation(state), user))
    if as_json:
        answer([key.model_dump(mode="json") for key in keys])
        return
    show(
        ("id", "key", "name", "memory", "scopes", "made", "expires"),
        [
            (
                key.key_id,
                f"{key.prefix}…",
                key.name,
                key.memory.value,
                " ".join(key.scopes) or "-",
                day(key.created_at),
                day(key.expires_at) if key.expires_at else "never",
            )
            for key in keys
        ],
        nothing=f"{user} has no keys; make one with: mongars keys create --user {user} --name NAME",
    )


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As mongars keys list shows it.")],
    user: UserOption,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key at once."""
    asyncio.run(_revoke(chosen_installation(state), user, key_id))
    if as_json:
        answer({"revoked": key_id})
    else:
        line(f"Revoked {key_id}.")


async def _create(
    installation: Installation, user: str, name: str, memory: str, expires: str | None, scope: list[str]
) -> tuple[str, dict[str, object]]:
    from datetime import UTC, datetime

    from cli import accounts
    from cli.bus import as_command
    from cli.errors import CommandError, Exit
    from libs.shared.contracts.common import MemoryMode, Role

    if memory not in set(MemoryMode):
        raise CommandError(f"--memory {memory} is unknown", f"one of: {', '.join(MemoryMode)}", code=Exit.USAGE)
    accounts.require_name(name)
    expires_at = accounts.expiry(expires, datetime.now(UTC)) if expires else None
    async with as_command(installation) as bus:
        found = await accounts.find_user(bus, user)
        scopes = accounts.key_scopes(scope, user, found.role if found else Role.USER)
        owner = found or await accounts.create_user(bus, user, Role.USER, None)
        made, key = await accounts.create_key(bus, owner, name, MemoryMode(memory), expires_at, scopes)
    return made.secret, key.model_dump(mode="json")


async def _list(installation: Installation, user: str) -> list[ApiKey]:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        owner = await accounts.user_named(bus, user)
        return await accounts.all_keys(bus, owner)


async def _revoke(installation: Installation, user: str, key_id: str) -> None:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        await accounts.revoke_key(bus, await accounts.user_named(bus, user), key_id)
