"""The installation's PostgreSQL as the supervisor runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.creation import database_binaries, make, prepare_folder
from cli.database import binaries as binaries_module
from cli.database.binaries import Binaries, copied, from_wheel, traversable
from cli.database.launcher import end_leftovers, working_in
from cli.database.owner import current_owner
from cli.installation import Installation, state_folder
from cli.probes import database_answers
from cli.progress import Progress
from cli.supervision.place import code_root

_TIMEOUT_S = 15.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = state_folder(tmp_path_factory.mktemp("database") / "state")
    prepare_folder(folder)
    return make(folder, Progress(quiet=True), http_port=None)


@pytest.fixture(scope="module")
def binaries(installation: Installation) -> Binaries:
    return database_binaries(current_owner())


@contextmanager
def launched(installation: Installation, binaries: Binaries) -> Iterator[subprocess.Popen[bytes]]:
    data = installation.folder.database
    command = [sys.executable, "-m", "cli.database.launcher", str(data), str(binaries.program("postgres"))]
    with subprocess.Popen(command, cwd=code_root(), stderr=subprocess.DEVNULL) as process:
        try:
            wait_ready(installation, binaries)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(_TIMEOUT_S)


def wait_ready(installation: Installation, binaries: Binaries) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not database_answers(binaries, installation.folder.database_socket):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def psql(installation: Installation, binaries: Binaries, sql: str, user: str, password: str = "") -> str:
    ran = subprocess.run(
        [
            binaries.program("psql"),
            "-h",
            installation.folder.database_socket,
            "-U",
            user,
            "-d",
            "mongars",
            "-Atqc",
            sql,
        ],
        env={"PGPASSWORD": password, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    return ran.stdout.strip() if ran.returncode == 0 else f"refused: {ran.stderr}"


def test_the_application_gets_in_with_its_password_and_owns_its_database(
    installation: Installation, binaries: Binaries
) -> None:
    password = installation.folder.database_password.read_text()
    with launched(installation, binaries):
        made = psql(installation, binaries, "create table t (v vector(3)); select count(*) from t", "mongars", password)
        assert made == "0"
        assert psql(installation, binaries, "select 1", "mongars", "wrong").startswith("refused")
        assert (
            psql(installation, binaries, "select rolsuper from pg_roles where rolname = 'mongars'", "postgres") == "f"
        )


def test_it_listens_on_no_network_and_runs_as_nobody_who_matters(
    installation: Installation, binaries: Binaries
) -> None:
    with launched(installation, binaries) as process:
        assert psql(installation, binaries, "show listen_addresses", "postgres") == ""
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{current_owner().uid}\t" in status
        assert "NoNewPrivs:\t1" in status
        assert os.geteuid() != 0 or "CapBnd:\t0000000000000000" in status


def test_what_it_refuses_is_logged_without_what_somebody_said(installation: Installation, binaries: Binaries) -> None:
    with launched(installation, binaries):
        for name, value in (
            ("log_min_error_statement", "panic"),
            ("log_error_verbosity", "terse"),
            ("log_statement", "none"),
        ):
            assert psql(installation, binaries, f"show {name}", "postgres") == value


@contextmanager
def left_busy(installation: Installation, binaries: Binaries) -> Iterator[None]:
    """The database was killed while one of its backends was working; that one still is."""
    with launched(installation, binaries) as process:
        socket = installation.folder.database_socket
        query = ("-c", "select count(*) from generate_series(1, 1000000000)")
        busy = subprocess.Popen(
            [binaries.program("psql"), "-h", socket, "-U", "postgres", "-d", "mongars", *query],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _TIMEOUT_S
        active = (
            "select count(*) from pg_stat_activity where query like 'select count(*) from gen%' and state = 'active'"
        )
        while psql(installation, binaries, active, "postgres") != "1":
            assert time.monotonic() < deadline
        process.kill()
        process.wait(_TIMEOUT_S)
        assert list(working_in(installation.folder.database))
        yield
    end_leftovers(installation.folder.database)
    busy.wait(_TIMEOUT_S)


def test_a_killed_database_is_ready_again_although_a_backend_was_busy(
    installation: Installation, binaries: Binaries
) -> None:
    with left_busy(installation, binaries):
        begun = time.monotonic()
        with launched(installation, binaries):
            assert time.monotonic() - begun < 5
    assert list(working_in(installation.folder.database)) == []


def test_without_ending_the_busy_backend_it_would_not_come_back(installation: Installation, binaries: Binaries) -> None:
    mutated = (
        "import sys, cli.database.launcher as launcher\n"
        "launcher.end_leftovers = lambda data: None\n"
        "launcher.main(sys.argv[1:])"
    )
    data, program = installation.folder.database, binaries.program("postgres")
    with left_busy(installation, binaries):
        ran = subprocess.run(
            [sys.executable, "-c", mutated, data, program],
            cwd=code_root(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    assert ran.returncode != 0
    assert "in use" in ran.stderr


def test_only_postgresql_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as bystander:
        end_leftovers(tmp_path)
        assert bystander.poll() is None
        bystander.kill()


def test_binaries_below_a_closed_folder_are_copied_once_and_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    copy = copied(from_wheel(), home)
    assert copy.program("postgres").stat().st_mode & 0o005 == 0o005
    ran = subprocess.run([copy.program("postgres"), "--version"], capture_output=True, text=True, check=True)
    assert "PostgreSQL" in ran.stdout

    def never(*_arguments: object) -> None:
        raise AssertionError("copied again")

    monkeypatch.setattr(binaries_module, "_copy", never)
    assert copied(from_wheel(), home) == copy
    assert [entry.name.endswith(".new") for entry in home.iterdir()] == [False]


def test_a_copy_has_all_that_a_database_needs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    copy = copied(from_wheel(), home)
    said = subprocess.run([copy.program("initdb"), "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("initdb")
    assert list(copy.folder.rglob("vector.control"))
    assert list(copy.folder.rglob("vector.so"))


def test_a_closed_parent_makes_a_folder_unreachable(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    assert not traversable(inner)
    assert traversable(Path("/usr/bin"))
