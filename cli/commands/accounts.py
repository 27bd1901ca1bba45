"""``mongars users``: the people of the installation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.installation import Installation
from cli.listing import day, show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from libs.shared.contracts.accounts import User

app = typer.Typer(help="Accounts: make, list, let somebody in again.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Up to 64 characters, without spaces, slashes and colons.")
    ],
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="user, operator or admin.")] = "user",
    password: Annotated[
        bool,
        typer.Option(
            "--password/--no-password", metavar="", help="Without a password the account is used by API keys alone."
        ),
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
    users = asyncio.run(_list(chosen_installation(state)))
    if as_json:
        answer([user.model_dump(mode="json") for user in users])
        return
    show(
        ("name", "role", "since", "note"),
        [(user.name, user.role.value, day(user.created_at), _note(user)) for user in users],
        nothing="there is no account",
    )


@app.command("reset-password")
def reset_password(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose password.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an account a one-time password, printed this once; it must be changed at the first login.

    The account's sessions end, and so does the wait after wrong passwords. Its API keys stay. The installation has to
    be running.
    """
    user, secret = asyncio.run(_reset(chosen_installation(state), name))
    if as_json:
        answer({"user_id": user.user_id, "name": user.name, "disabled": user.disabled, "one_time_password": secret})
        return
    line(f"The old password of {user.name} is void, and its sessions have ended.")
    line(f"  one-time password (shown only now): {secret}")
    if user.disabled:
        line("  the account is disabled: another administrator has to enable it before it can log in")


def _note(user: User) -> str:
    if user.disabled:
        return "disabled"
    return "has to choose a password" if user.must_change_password else ""


async def _create(
    installation: Installation, name: str, role: str, password: bool
) -> tuple[dict[str, object], str | None]:
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
        user = await accounts.create_user(bus, name, Role(role), hashed)
    return user.model_dump(mode="json"), secret


async def _reset(installation: Installation, name: str) -> tuple[User, str]:
    from cli import accounts
    from cli.bus import as_command
    from libs.shared.credentials import hash_password, new_password

    secret = new_password()
    hashed = await asyncio.to_thread(hash_password, secret)
    async with as_command(installation) as bus:
        user = await accounts.user_named(bus, name)
        await accounts.reset_password(bus, user, hashed)
    return user, secret


async def _list(installation: Installation) -> list[User]:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        return await accounts.all_users(bus)
