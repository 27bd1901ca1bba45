"""``mongars users``: the people of the installation."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cli.installation import Installation
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

app = typer.Typer(help="Accounts: make, list.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Up to 64 characters, without spaces, slashes and colons.")],
    role: Annotated[str, typer.Option("--role", help="user, operator or admin.")] = "user",
    password: Annotated[
        bool, typer.Option("--password/--no-password", help="Without a password the account is used by API keys alone.")
    ] = True,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an account, and print its one-time password, this once; it must be changed at the first login."""
    row, secret = asyncio.run(_create(chosen_installation(state), name, role, password))
    if as_json:
        answer(row | ({"one_time_password": secret} if secret else {}))
        return
    line(f"Made {role} {name}.")
    if secret:
        line(f"  one-time password (shown only now): {secret}")


@app.command("list")
def list_users(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the accounts, by name."""
    rows = asyncio.run(_list(chosen_installation(state)))
    if as_json:
        answer(rows)
        return
    for row in rows:
        line(f"{row['name']:24}  {row['role']:8}  {'disabled' if row['disabled'] else ''}".rstrip())


async def _create(
    installation: Installation, name: str, role: str, password: bool
) -> tuple[dict[str, object], str | None]:
    from pydantic import ValidationError

    from cli import accounts
    from cli.bus import as_command
    from cli.errors import CommandError, Exit
    from libs.shared.contracts.common import Role
    from libs.shared.credentials import hash_password, new_password

    if role not in set(Role):
        raise CommandError(f"--role {role} is unknown", f"one of: {', '.join(Role)}", code=Exit.USAGE)
    secret = new_password() if password else None
    hashed = await asyncio.to_thread(hash_password, secret) if secret else None
    async with as_command(installation) as bus:
        try:
            user = await accounts.create_user(bus, name, Role(role), hashed)
        except ValidationError:
            raise CommandError(
                f"{name!r} can't be a name", "1 to 64 characters, without spaces, slashes and colons", code=Exit.USAGE
            ) from None
    return user.model_dump(mode="json"), secret


async def _list(installation: Installation) -> list[dict[str, object]]:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        return [user.model_dump(mode="json") for user in await accounts.all_users(bus)]
