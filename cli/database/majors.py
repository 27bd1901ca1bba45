"""PostgreSQL's major versions: data of an older one is dumped by its own programs and taken over by today's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.creation import database_binaries
from cli.database import creation
from cli.database.binaries import PACKAGE, Binaries, traversable
from cli.database.launcher import end_leftovers
from cli.database.owner import Owner, current_owner, owner_name
from cli.errors import CommandError
from cli.installation import Installation
from cli.progress import Progress

_CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
_SUPERUSER = "postgres"
_DATABASE = "mongars"
_WHEELS = {16: "0.5.1", 18: "0.6.0"}
"""Which release of the wheel carried which major version."""
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 120.0
_CARRY_TIMEOUT_S = 6 * 3600.0
_CHECK_EVERY_S = 0.1
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True)
class Change:
    """From one major version to another, with the programs of both."""

    old: Binaries
    new: Binaries
    before: int
    after: int


def major_of_data(data: Path) -> int:
    """As ``PG_VERSION`` says. Raises CommandError."""
    try:
        return int((data / "PG_VERSION").read_text().split(".")[0])
    except (OSError, ValueError):
        raise CommandError(f"{data} is not a PostgreSQL data folder", "restore it from a backup") from None


def major_of_programs(binaries: Binaries) -> int:
    """As ``postgres --version`` says. Raises CommandError."""
    program = binaries.program("postgres")
    try:
        ran = subprocess.run(  # noqa: S603 - the database's own program
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30, env=_CLEAN_ENVIRONMENT
        )
        found = _VERSION.search(ran.stdout)
    except (OSError, subprocess.SubprocessError):
        found = None
    if found is None:
        raise CommandError(f"{program} does not run", "name the folder that holds PostgreSQL's bin/postgres")
    return int(found[1])


def change(installation: Installation, old_folder: Path | None) -> Change | None:
    """What an upgrade has to carry over; None where the data fits the programs, or is another server's.

    Raises CommandError when the data can't be carried over with what is here.
    """
    if installation.marker.database is not None:
        return None
    new = database_binaries(current_owner())
    before, after = major_of_data(installation.folder.database), major_of_programs(new)
    if before == after:
        return None
    if before > after:
        raise CommandError(
            f"the data was written by PostgreSQL {before}, and {after} is installed", "run: make install, and try again"
        )
    if old_folder is None:
        raise CommandError(
            f"the data was written by PostgreSQL {before}, {after} is installed, and only {before} can read it out",
            _remedy(before),
        )
    old = _programs_in(old_folder.resolve())
    if major_of_programs(old) != before:
        raise CommandError(f"{old.folder} is not PostgreSQL {before}", "name the folder that holds its bin and lib")
    _require_reachable(old)
    return Change(old, new, before, after)


def carry(installation: Installation, wanted: Change, progress: Progress) -> None:
    """Puts what the old data folder holds into a new one. The caller has a copy to go back to. Raises CommandError."""
    folder, owner = installation.folder, current_owner()
    dump = folder.root / "upgrade" / "database.dump"
    sockets = installation.reachable.database_socket
    try:
        with progress.step(f"Reading the data out with PostgreSQL {wanted.before}"):
            with _serving(folder.database, sockets, wanted.old, owner):
                _run(wanted.new, "pg_dump", sockets, "--format=custom", "--file", str(dump))
            shutil.rmtree(folder.database)
        with progress.step(f"Making a database of PostgreSQL {wanted.after}"):
            creation.create(
                folder,
                wanted.new,
                owner,
                operator=owner_name(os.geteuid()),
                password=folder.database_password.read_text(),
            )
        with (
            progress.step(f"Taking the data over into PostgreSQL {wanted.after}"),
            _serving(folder.database, sockets, wanted.new, owner),
        ):
            _run(wanted.new, "pg_restore", sockets, "--exit-on-error", "--single-transaction", str(dump))
            _run(wanted.new, "psql", sockets, "-c", "ANALYZE")
    finally:
        dump.unlink(missing_ok=True)


def _remedy(major: int) -> str:
    """How to come by the programs of a major version, with pgvector."""
    if (wheel := _WHEELS.get(major)) is not None:
        return (
            f".venv/bin/python -m pip install --no-deps --target /opt/postgresql-{major} {PACKAGE}=={wheel}, "
            f"then: mongars upgrade --old-binaries /opt/postgresql-{major}"
        )
    return (
        f"install PostgreSQL {major} with pgvector beside it (Debian: apt-get install postgresql-{major}-pgvector), "
        f"then: mongars upgrade --old-binaries /usr/lib/postgresql/{major}"
    )


def _programs_in(folder: Path) -> Binaries:
    """``folder`` itself, or the PostgreSQL of a wheel that was unpacked there."""
    wheels = sorted(folder.glob("*/pginstall*/bin/postgres"))
    return Binaries(wheels[0].parents[1] if wheels and not (folder / "bin").is_dir() else folder)


def _require_reachable(old: Binaries) -> None:
    if current_owner().switch and not traversable(old.folder):
        raise CommandError(
            f"the database's user can't run what is in {old.folder}", "let every user pass through its parent folders"
        )


@contextmanager
def _serving(data: Path, sockets: Path, binaries: Binaries, owner: Owner) -> Iterator[None]:
    """A server on ``data`` for its superuser alone, over a socket."""
    end_leftovers(data)
    options = ("-c", "unix_socket_directories=../run", "-c", "listen_addresses=", "-c", "log_min_messages=fatal")
    command = owner.command(binaries.program("postgres"), "-D", "/proc/self/cwd", *options)
    with subprocess.Popen(  # noqa: S603 - the database's own program
        command, cwd=data, env=_CLEAN_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            _await(server, binaries, sockets)
            yield
        finally:
            server.send_signal(2)
            try:
                server.communicate(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                end_leftovers(data)


def _await(server: subprocess.Popen[str], binaries: Binaries, sockets: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    ask = [str(binaries.program("pg_isready")), "-q", "-h", str(sockets), "-U", _SUPERUSER, "-d", _DATABASE]
    while subprocess.run(ask, check=False, env=_CLEAN_ENVIRONMENT, capture_output=True).returncode != 0:  # noqa: S603
        if server.poll() is not None:
            said = server.stderr.read().strip() if server.stderr else ""
            raise CommandError(f"PostgreSQL ended: {said.splitlines()[-1] if said else 'it gave no reason'}")
        if time.monotonic() > deadline:
            raise CommandError(f"PostgreSQL did not answer within {_START_TIMEOUT_S:.0f} s", "try again")
        time.sleep(_CHECK_EVERY_S)


def _run(binaries: Binaries, program: str, sockets: Path, *arguments: str) -> None:
    command = [str(binaries.program(program)), "-h", str(sockets), "-U", _SUPERUSER, "-d", _DATABASE, *arguments]
    ran = subprocess.run(  # noqa: S603 - the database's own program
        command, check=False, capture_output=True, text=True, timeout=_CARRY_TIMEOUT_S, env=_CLEAN_ENVIRONMENT
    )
    if ran.returncode != 0:
        raise CommandError(f"{program}: {(ran.stderr.strip().splitlines() or ['no reason given'])[0]}")
