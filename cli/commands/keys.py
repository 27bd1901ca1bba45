"""``mongars keys``: API keys for the programs that talk to the installation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.installation import Installation
from cli.listing import day, show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from libs.shared.contracts.accounts import ApiKey, KeyMapping

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
            help="user, operator, admin, metrics (read /metrics alone) or on-behalf-of (chat for accounts that its "
            "program's users are mapped to, of an admin's key alone); repeat it for several. Without it the key "
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


@app.command("map")
def map_user(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="A key with the scope on-behalf-of.")],
    external: Annotated[
        str,
        typer.Argument(metavar="EXTERNAL", help="What the key's program calls its user: an id, or an e-mail address."),
    ],
    user: Annotated[str, typer.Option("--user", "-u", metavar="NAME", help="The account that this user is here.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a key speak for an account: its program's user then has that account's memory, and no one else's."""
    mapping = asyncio.run(_map(chosen_installation(state), key_id, external, user))
    if as_json:
        answer(mapping.model_dump(mode="json"))
    else:
        line(f"{external} is {mapping.name}, for the key {key_id}.")


@app.command("maps")
def maps(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="A key with the scope on-behalf-of.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List for whom a key may speak; what its program calls them is kept as a keyed hash, and can't be shown."""
    found = asyncio.run(_maps(chosen_installation(state), key_id))
    if as_json:
        answer([mapping.model_dump(mode="json") for mapping in found])
        return
    show(
        ("id", "account", "since", "state"),
        [
            (one.mapping_id, one.name, day(one.created_at), "" if one.accepted else "waits for the account's word")
            for one in found
        ],
        nothing=f"nobody is mapped; do it with: mongars keys map {key_id} EXTERNAL --user NAME",
    )


@app.command("unmap")
def unmap(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="A key with the scope on-behalf-of.")],
    external: Annotated[
        str, typer.Argument(metavar="EXTERNAL", help="As it was mapped, or the id that mongars keys maps shows.")
    ],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a key speak for somebody no more, at once."""
    asyncio.run(_unmap(chosen_installation(state), key_id, external))
    if as_json:
        answer({"unmapped": external})
    else:
        line(f"{external} has no memory here any more, for the key {key_id}.")


async def _map(installation: Installation, key_id: str, external: str, user: str) -> KeyMapping:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        return await accounts.map_user(bus, key_id, external, await accounts.user_named(bus, user))


async def _maps(installation: Installation, key_id: str) -> tuple[KeyMapping, ...]:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        return await accounts.mappings(bus, key_id)


async def _unmap(installation: Installation, key_id: str, external: str) -> None:
    from cli import accounts
    from cli.bus import as_command

    async with as_command(installation) as bus:
        await accounts.unmap_user(bus, key_id, external)


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
