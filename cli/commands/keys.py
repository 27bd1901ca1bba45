"""``mongars keys``: API keys for the programs that talk to the installation."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cli.installation import Installation
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

app = typer.Typer(help="API keys for programs: make, list, revoke.", no_args_is_help=True)
UserOption = Annotated[str, typer.Option("--user", "-u", help="The account that the key belongs to.")]


@app.command("create")
def create(
    user: UserOption,
    name: Annotated[str, typer.Option("--name", help="What the key is for, to recognise it by.")],
    memory: Annotated[
        str,
        typer.Option("--memory", help="off, read (recall only) or read-write (recall, and be remembered)."),
    ] = "off",
    expires: Annotated[
        str | None, typer.Option("--expires", help="36h, 90d, 4w or a date; without it the key does not expire.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, alone, this once; the account is made when there is none of that name."""
    installation = chosen_installation(state)
    secret, row = asyncio.run(_create(installation, user, name, memory, expires))
    if as_json:
        answer({"key": secret, **row})
    else:
        line(secret)


@app.command("list")
def list_keys(user: UserOption, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List an account's keys, newest first; secrets are not kept and can't be shown."""
    rows = asyncio.run(_list(chosen_installation(state), user))
    if as_json:
        answer(rows)
        return
    for row in rows:
        line(f"{row['key_id']}  {row['prefix']}…  {row['memory']:10}  {row['expires_at'] or 'never':32}  {row['name']}")


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="As mongars keys list shows it.")],
    user: UserOption,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key at once."""
    asyncio.run(_revoke(chosen_installation(state), user, key_id))
    if as_json:
        answer({"revoked": key_id})
    else:
        line("Revoked.")


async def _create(
    installation: Installation, user: str, name: str, memory: str, expires: str | None
) -> tuple[str, dict[str, object]]:
    from datetime import UTC, datetime

    from cli import accounts
    from cli.bus import as_command
    from cli.errors import CommandError, Exit
    from libs.shared.contracts.common import MemoryMode

    if memory not in set(MemoryMode):
        raise CommandError(f"--memory {memory} is unknown", f"one of: {', '.join(MemoryMode)}", code=Exit.USAGE)
    expires_at = accounts.expiry(expires, datetime.now(UTC)) if expires else None
    async with as_command(installation) as bus:
        owner = await accounts.ensure_user(bus, user)
        made, key = await accounts.create_key(bus, owner, name, MemoryMode(memory), expires_at)
    return made.secret, key.model_dump(mode="json")


async def _list(installation: Installation, user: str) -> list[dict[str, object]]:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        owner = await accounts.user_named(bus, user)
        return [key.model_dump(mode="json") for key in await accounts.all_keys(bus, owner)]


async def _revoke(installation: Installation, user: str, key_id: str) -> None:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        await accounts.revoke_key(bus, await accounts.user_named(bus, user), key_id)
