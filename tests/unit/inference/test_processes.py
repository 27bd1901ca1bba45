"""Replica numbers, and what Ray may leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from libs.shared.contracts.inference import REPLICAS_PER_NODE
from libs.shared.errors import Overloaded
from services.inference.lease import ReplicaLease
from services.inference.ray_processes import (
    LONGEST_FOLDER,
    OWNER_VARIABLE,
    end_leftovers,
    remove_sessions,
    short_folder,
)

SLEEPER = "import subprocess, sys; print('up', flush=True); sys.stdin.read()"


def sleeper(owner: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {OWNER_VARIABLE: str(owner)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def finish(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_no_two_replicas_hold_one_number(tmp_path: Path) -> None:
    leases = [ReplicaLease(tmp_path, "n") for _ in range(REPLICAS_PER_NODE - 1)]
    assert [lease.replica for lease in leases] == [f"n-{number}" for number in range(1, REPLICAS_PER_NODE)]
    with pytest.raises(Overloaded):
        ReplicaLease(tmp_path, "n")
    leases[4].release()
    assert ReplicaLease(tmp_path, "n").number == 5
    for lease in leases:
        lease.release()


def test_a_number_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from services.inference.lease import ReplicaLease;"
        f"lease = ReplicaLease(Path({str(tmp_path)!r}), 'n'); print(lease.number, flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"1\n"
    with ReplicaLease(tmp_path, "n") as second:
        assert second.number == 2
    finish(holder)
    with ReplicaLease(tmp_path, "n") as again:
        assert again.number == 1


def test_only_this_installation_s_leftovers_are_ended(tmp_path: Path) -> None:
    ours, spared, theirs = sleeper(tmp_path / "a"), sleeper(tmp_path / "a"), sleeper(tmp_path / "b")
    try:
        assert end_leftovers(tmp_path / "a", spare=frozenset({spared.pid})) == 1
        assert ours.poll() is not None
        assert spared.poll() is None
        assert theirs.poll() is None
    finally:
        for process in (ours, spared, theirs):
            finish(process)


def test_a_short_folder_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("services.inference.ray_processes.LONGEST_FOLDER", 500)
    assert short_folder(tmp_path / "ray") == tmp_path / "ray"


def test_a_long_folder_gets_a_short_link_that_stays_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 60) / "ray"
    link = short_folder(folder)
    assert len(str(link)) <= LONGEST_FOLDER
    assert link.resolve() == folder.resolve()
    assert short_folder(folder) == link
    link.unlink()


def test_a_folder_of_links_that_others_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = tmp_path / f"mgr-{os.getuid()}"
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(PermissionError):
        short_folder(tmp_path / ("x" * 60))


def test_earlier_sessions_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "session_1" / "logs").mkdir(parents=True)
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_1")
    (tmp_path / "auth_token").write_text("x")
    remove_sessions(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["auth_token"]
