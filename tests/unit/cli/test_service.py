"""The systemd unit, below a root of its own; and when a system user has to stay."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.progress import Progress
from cli.service import installing, users
from cli.service.installing import Plan
from cli.service.unit import STOP_S, Service, render
from cli.stop import _STOP_TIMEOUT_S
from libs.shared.layout import StateFolder

SYSTEM = Service(Path("/var/lib/mongars"), Path(sys.executable), Path("/opt/mongars"), "root")
OWN = Service(Path("/srv/ada/mongars"), Path(sys.executable), Path("/opt/mongars"), None)
QUIET = Progress(quiet=True)


def options(service: Service) -> dict[str, str]:
    rows = (row.partition("=") for row in render(service).splitlines() if "=" in row and not row.startswith("#"))
    return {name: value for name, _, value in rows}


def test_the_machines_service_is_hardened_and_may_write_its_own_folder_alone() -> None:
    read = options(SYSTEM)
    assert read["NoNewPrivileges"] == "yes"
    assert read["ProtectSystem"] == "strict"
    assert read["ReadWritePaths"] == "/var/lib/mongars"
    assert read["CapabilityBoundingSet"] == ""
    assert read["Restart"] == "on-failure"
    assert read["SuccessExitStatus"] == "130"
    assert read["WantedBy"] == "multi-user.target"


def test_it_has_longer_to_stop_than_stopping_may_take() -> None:
    assert options(SYSTEM)["TimeoutStopSec"] == str(STOP_S)
    assert STOP_S > _STOP_TIMEOUT_S


def test_homes_are_hidden_unless_something_that_runs_lies_there() -> None:
    assert options(Service(Path("/srv/m"), Path("/opt/m/python"), Path("/opt/m"), "m"))["ProtectHome"] == "yes"
    assert options(Service(Path("/srv/m"), Path("/home/a/python"), Path("/opt/m"), "m"))["ProtectHome"] == "read-only"


def test_a_users_own_service_needs_no_other_user() -> None:
    read = options(OWN)
    assert "User" not in read
    assert read["WantedBy"] == "default.target"


@pytest.mark.parametrize("path", ["/srv/two words", "/srv/100%", '/srv/"'])
def test_a_path_that_a_unit_would_misread_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="can't name"):
        render(Service(Path(path), Path("/p"), Path("/c"), None))


@pytest.mark.parametrize("service", [SYSTEM, OWN], ids=["system", "own"])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_takes_the_unit(service: Service, tmp_path: Path) -> None:
    unit = tmp_path / "mongars.service"
    here = Service(tmp_path, service.python, tmp_path, service.user)
    unit.write_text(render(here))
    kind = () if service.user else ("--user",)
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    ran = subprocess.run(
        ["systemd-analyze", "verify", *kind, unit], capture_output=True, text=True, check=False, env=environment
    )
    assert (ran.returncode, [row for row in ran.stderr.splitlines() if "mongars" in row]) == (0, [])


@pytest.mark.parametrize(("service", "place"), [(SYSTEM, "etc/systemd/system"), (OWN, ".config/systemd/user")])
def test_below_a_root_it_is_written_enabled_and_removed_again(service: Service, place: str, tmp_path: Path) -> None:
    plan = Plan(service, tmp_path)
    assert place in str(plan.path)
    assert plan.path.is_relative_to(tmp_path)
    assert installing.install(plan, QUIET) is False, "nothing is started below a root"
    assert plan.path.read_text() == render(service)
    assert plan.path.stat().st_mode & 0o777 == 0o644
    assert plan.wanted.resolve() == plan.path
    assert installing.serves(plan)
    assert not installing.serves(
        Plan(Service(Path("/elsewhere"), service.python, service.code, service.user), tmp_path)
    )
    assert installing.remove(plan, QUIET)
    assert not plan.path.exists()
    assert not plan.wanted.is_symlink()
    assert not installing.remove(plan, QUIET)


ME = pwd.getpwuid(os.geteuid()).pw_name


def test_a_user_with_a_process_stays(tmp_path: Path) -> None:
    reason = users.needed_by(ME, besides=tmp_path, search=lambda uid, besides: None)
    assert reason is not None
    assert "runs as" in reason


@pytest.mark.skipif(os.geteuid() != 0, reason="adding a user takes root")
def test_a_system_user_is_added_stays_while_a_file_is_theirs_and_goes_then(tmp_path: Path) -> None:
    name = f"mongars-t{os.getpid()}"
    users.add(name, tmp_path)
    try:
        assert pwd.getpwnam(name).pw_shell.endswith("nologin")
        mine = tmp_path / "mine"
        mine.touch()
        users.give(tmp_path, name)
        assert mine.stat().st_uid == pwd.getpwnam(name).pw_uid
        looked: list[tuple[int, Path]] = []

        def search(uid: int, besides: Path) -> str | None:
            looked.append((uid, besides))
            return str(mine) if mine.exists() else None

        assert users.needed_by(name, besides=tmp_path, search=search) == f"{mine} belongs to {name}"
        mine.unlink()
        assert users.needed_by(name, besides=tmp_path, search=search) is None
        assert looked[0] == (pwd.getpwnam(name).pw_uid, tmp_path)
    finally:
        users.remove(name)
    assert not users.exists(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_a_command_as_another_user_is_theirs_and_gains_nothing() -> None:
    ran = subprocess.run(
        installing.as_user("nobody", "sh", "-c", "id -un; id -Gn; grep -E 'CapEff|NoNewPrivs' /proc/self/status"),
        capture_output=True,
        text=True,
        check=True,
    )
    name, groups, *rest = ran.stdout.split("\n")
    assert (name, groups) == ("nobody", "nogroup")
    assert [row.split()[1] for row in rest if row] == ["0" * 16, "1"]


def test_a_service_of_the_system_takes_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="takes root"):
        installing.plan(StateFolder(tmp_path), system=True, user="mongars", root=Path("/"))
