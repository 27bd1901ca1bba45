"""Looking at the database: its folder while nothing runs there, and over a connection where one can be made."""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.database import binaries
from cli.database.choice import kept_password
from cli.database.owner import current_owner
from cli.doctor.facts import Database
from cli.errors import CommandError
from cli.installation import Installation
from cli.supervision.place import code_root
from cli.upgrade.versions import revisions_of

_CONNECT_TIMEOUT_S = 4.0
_CONTROL_TIMEOUT_S = 10.0
_USERS_JUDGED = 16
_PASSWORD = ("28P01", "28000")
_MAJOR = re.compile(r"(\d+)")


def look(installation: Installation, *, connect: bool) -> Database:
    """``connect``: whether a server is expected to answer."""
    found = Database("external") if installation.marker.database else _folder(installation)
    found = replace(found, revisions=revisions_of(code_root()), recorded=installation.marker.database_revision)
    return asyncio.run(_connected(installation, found)) if connect else found


def _folder(installation: Installation) -> Database:
    data = installation.folder.database
    try:
        owner = current_owner()
    except CommandError:
        return Database("missing" if not data.exists() else "whole")
    if not data.is_dir():
        return Database("missing", owner=owner.name)
    if data.stat().st_uid != owner.uid:
        return Database("foreign", owner=owner.name)
    try:
        programs = binaries.from_wheel()
    except CommandError:
        return Database("whole", owner=owner.name)
    written_by, of_programs = _written_by(data), _major(programs)
    whole = written_by is not None and (written_by != of_programs or _control_readable(data, programs))
    return Database("whole" if whole else "damaged", written_by=written_by, programs=of_programs, owner=owner.name)


def _written_by(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None


def _major(programs: binaries.Binaries) -> int | None:
    match = _MAJOR.search(programs.folder.name)
    return int(match[1]) if match else None


def _control_readable(data: Path, programs: binaries.Binaries) -> bool:
    try:
        ran = subprocess.run(  # noqa: S603 - our own program
            [programs.program("pg_controldata"), data], capture_output=True, timeout=_CONTROL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return True  # it was not seen that it isn't
    return ran.returncode == 0 and b"WARNING" not in ran.stderr + ran.stdout


async def _connected(installation: Installation, found: Database) -> Database:
    import asyncpg

    try:
        connection = await asyncpg.connect(
            installation.database_url,
            password=kept_password(installation),
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_CONNECT_TIMEOUT_S,
        )
    except asyncpg.PostgresError as error:
        state = getattr(error, "sqlstate", "") or ""
        return replace(found, reached="password" if state in _PASSWORD else "refused", reason=state)
    except (asyncpg.InterfaceError, TimeoutError, OSError, ValueError) as error:
        return replace(found, reached="away", reason=type(error).__name__)
    try:
        return await _asked(connection, replace(found, reached="yes"))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError) as error:
        return replace(found, reason=type(error).__name__)
    finally:
        connection.terminate()


async def _asked(connection: Any, found: Database) -> Database:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return found
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    if revision not in found.revisions:
        return replace(found, revision=revision)
    rows = await connection.fetch("SELECT key_slot FROM users WHERE key_slot IS NOT NULL LIMIT $1", _USERS_JUDGED)
    return replace(found, revision=revision, user_slots=tuple(row["key_slot"] for row in rows))
