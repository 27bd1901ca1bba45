"""The first creation of PostgreSQL's data folder: built aside, and renamed when it is whole."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cli.database.binaries import Binaries
from cli.database.owner import Owner
from cli.errors import CommandError
from libs.shared.durable import sync_folder
from libs.shared.layout import StateFolder

_INITDB_TIMEOUT_S = 120
_HERE = "/proc/self/cwd"
"""PGDATA as PostgreSQL sees it. The parents of a state folder may be closed to its user (a home, a temporary
folder), so it is started inside PGDATA and never walks down to it."""
_SUPERUSER = "postgres"
_APPLICATION = "mongars"
_HBA = f"""\
# Written by mongars when the database was made.
# TYPE  DATABASE  USER  METHOD
local   all       {_SUPERUSER}   peer map=owner
local   {_APPLICATION}   {_APPLICATION}    scram-sha-256
"""
_CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def create(folder: StateFolder, binaries: Binaries, owner: Owner, *, operator: str, password: str) -> None:
    """Makes PGDATA, the application's role and database, and the ``vector`` extension; nothing when PGDATA is there.

    ``operator`` is the operating system's user who may become the database's superuser.
    """
    if folder.database.exists():
        return
    aside = folder.database.with_name("data.new")
    shutil.rmtree(aside, ignore_errors=True)
    _make_folders(folder, aside, owner)
    _initdb(aside, binaries, owner)
    _run_sql(aside, binaries, owner, "template1", _roles(password))
    _run_sql(aside, binaries, owner, _APPLICATION, "CREATE EXTENSION vector;\n")
    _write_access(aside, owner, operator)
    aside.rename(folder.database)
    sync_folder(folder.database.parent)


def _make_folders(folder: StateFolder, aside: Path, owner: Owner) -> None:
    parent = aside.parent
    parent.mkdir(exist_ok=True)
    parent.chmod(0o711 if owner.switch else 0o700)
    for path, mode in ((aside, 0o700), (folder.database_socket, 0o750)):
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        owner.give(path)


def _initdb(data: Path, binaries: Binaries, owner: Owner) -> None:
    arguments = ("-U", _SUPERUSER, "--auth-local=peer", "--auth-host=reject", "-E", "UTF8", "--locale=C.UTF-8")
    _run(
        owner.command(binaries.program("initdb"), "-D", _HERE, *arguments, "--data-checksums", "--no-instructions"),
        data,
    )


def _roles(password: str) -> str:
    return (
        f"CREATE ROLE {_APPLICATION} LOGIN PASSWORD '{password}';\n"
        f"CREATE DATABASE {_APPLICATION} OWNER {_APPLICATION};\n"
    )


def _run_sql(data: Path, binaries: Binaries, owner: Owner, database: str, sql: str) -> None:
    """Runs ``sql`` in a single-user backend: no server, no socket, nobody else."""
    quiet = ("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "-c", "log_checkpoints=off")
    _run(owner.command(binaries.program("postgres"), "--single", "-D", _HERE, *quiet, database), data, sql)


def _run(command: list[str], data: Path, text: str = "") -> None:
    ran = subprocess.run(  # noqa: S603 - our own programs
        command,
        cwd=data,
        input=text,
        env=_CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=_INITDB_TIMEOUT_S,
        check=False,
    )
    if ran.returncode != 0:
        reason = next((line for line in reversed(ran.stderr.splitlines()) if line.strip()), "no reason given")
        if "No space left on device" in ran.stderr:
            raise OSError(28, "No space left on device", str(data))
        raise CommandError(f"PostgreSQL's data folder could not be made: {reason.strip()}", "see the line above")


def _write_access(data: Path, owner: Owner, operator: str) -> None:
    names = dict.fromkeys((operator, owner.name))
    for name, content in (
        ("pg_hba.conf", _HBA),
        ("pg_ident.conf", "".join(f"owner {user} {_SUPERUSER}\n" for user in names)),
    ):
        path = data / name
        path.write_text(content)
        path.chmod(0o600)
        owner.give(path)
