"""Looking whether a PostgreSQL of somebody else's can hold an installation, before anything is made or started."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cli.database.external import VARIABLE, Address
from cli.errors import CommandError

if TYPE_CHECKING:
    from asyncpg import Connection

_CONNECT_TIMEOUT_S = 5.0
_STATEMENT_TIMEOUT_S = 30.0
_RETRY_S = 0.5
_LEAST_VERSION = 150_000
_STARTING_UP = "57P03"


def inspect(address: Address, *, new: bool, patience_s: float) -> None:
    """Makes the ``vector`` extension when it can, and nothing else.

    ``new``: an installation is to be made on it, so it must not hold another's data. ``patience_s``: how long a
    server that is away may take to come. Raises CommandError with what to do.
    """
    asyncio.run(_inspect(address, new, time.monotonic() + patience_s))


def row_counts(address: Address, tables: Iterable[str]) -> dict[str, int]:
    """How many rows each table has now. Raises CommandError."""

    async def ask() -> dict[str, int]:
        connection = await _connected(address, time.monotonic())
        try:
            counting = {name: f'SELECT count(*) FROM "{name}"' for name in tables}  # noqa: S608 - of our own making
            return {name: int(await connection.fetchval(sql)) for name, sql in counting.items()}
        finally:
            connection.terminate()

    return asyncio.run(ask())


def server_major(url: str, password: str | None) -> int:
    """The major version of a running server. Raises CommandError."""

    async def ask() -> int:
        connection = await _connected(Address(url, password), time.monotonic())
        try:
            return int(connection.get_server_version().major)
        finally:
            connection.terminate()

    return asyncio.run(ask())


async def _inspect(address: Address, new: bool, deadline: float) -> None:
    import asyncpg

    connection = await _connected(address, deadline)
    try:
        await _refuse_unfit(connection, address.url)
        await _ensure_vector(connection, address.url)
        if new:
            await _refuse_occupied(connection, address.url)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError) as error:
        raise CommandError(
            f"the database {address.url} does not answer as it should: {_reason(error)}", "see its server's log"
        ) from None
    finally:
        connection.terminate()


async def _connected(address: Address, deadline: float) -> Connection:
    import asyncpg

    while True:
        try:
            return await asyncpg.connect(
                address.url, password=address.password, timeout=_CONNECT_TIMEOUT_S, command_timeout=_STATEMENT_TIMEOUT_S
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError, ValueError) as error:
            away = isinstance(error, TimeoutError | OSError) or getattr(error, "sqlstate", "") == _STARTING_UP
            if not away or time.monotonic() > deadline:
                remedy = "start its server" if away else "let its server admit that user"
                raise CommandError(
                    f"the database {address.url} can't be opened: {_reason(error)}",
                    f"{remedy}, or mend the address in {VARIABLE}",
                ) from None
        await asyncio.sleep(_RETRY_S)


async def _refuse_unfit(connection: Connection, url: str) -> None:
    version, encoding, writable, role = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),"
        " has_schema_privilege('public', 'CREATE'), quote_ident(current_user)"
    )
    if version < _LEAST_VERSION:
        raise CommandError(
            f"the database {url} is PostgreSQL {version // 10_000}", "monGARS needs PostgreSQL 15 or newer"
        )
    if encoding != "UTF8":
        raise CommandError(
            f"the database {url} is encoded in {encoding}", "make one with: CREATE DATABASE mongars ENCODING 'UTF8';"
        )
    if not writable:
        raise CommandError(
            f"the database {url} lets {role} make no tables",
            f"let its owner run there: GRANT CREATE ON SCHEMA public TO {role};",
        )


async def _ensure_vector(connection: Connection, url: str) -> None:
    import asyncpg

    if await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
        return
    if not await connection.fetchval("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
        raise CommandError(
            f"the server of {url} has no pgvector",
            "install pgvector there (Debian: apt-get install postgresql-NN-pgvector), then run: mongars up",
        )
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    except asyncpg.InsufficientPrivilegeError:
        raise CommandError(
            f"the database {url} lacks the extension vector, and its user may not make it",
            "let a superuser run there: CREATE EXTENSION vector SCHEMA public;",
        ) from None


async def _refuse_occupied(connection: Connection, url: str) -> None:
    ours = await connection.fetchval("SELECT to_regclass('public.applied_positions') IS NOT NULL")
    if ours and await connection.fetchval("SELECT EXISTS (SELECT 1 FROM public.users)"):
        raise CommandError(
            f"the database {url} holds another installation, whose keys are not in this folder",
            "name that installation's folder with --state DIR, or give this one a database of its own",
        )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).splitlines()[0] if str(error) else type(error).__name__
