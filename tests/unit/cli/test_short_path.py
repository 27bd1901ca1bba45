"""Short names for state folders whose sockets would have too long a path."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli import short_path
from cli.errors import CommandError


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    (folder / "database" / "run").mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def short_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("s")
    monkeypatch.setattr(short_path, "_SHORT", folder)


def test_a_short_path_is_used_as_it_is(tmp_path: Path) -> None:
    assert short_path.reachable_root(tmp_path) == tmp_path


def test_a_socket_works_below_the_short_name_of_a_deep_folder(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_path, "_SHORT", Path("/tmp"))
    root = short_path.reachable_root(deep)
    try:
        assert not short_path.fits(deep)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(str(root / "database" / "run" / ".s.PGSQL.5432"))
            server.listen()
            client.connect(str(root / "database" / "run" / ".s.PGSQL.5432"))
        assert (deep / "database" / "run" / ".s.PGSQL.5432").exists()
    finally:
        root.unlink()


def test_every_command_finds_the_same_short_name(deep: Path) -> None:
    assert short_path.reachable_root(deep) == short_path.reachable_root(deep)


def test_a_short_name_that_was_cleaned_away_is_made_again(deep: Path) -> None:
    short_path.reachable_root(deep).unlink()
    assert short_path.reachable_root(deep).readlink() == deep


def test_a_short_name_that_leads_elsewhere_is_refused(deep: Path, tmp_path: Path) -> None:
    link = short_path.reachable_root(deep)
    link.unlink()
    link.symlink_to(tmp_path)
    with pytest.raises(CommandError, match="in the way"):
        short_path.reachable_root(deep)


def test_a_folder_in_place_of_the_short_name_is_refused(deep: Path) -> None:
    link = short_path.reachable_root(deep)
    link.unlink()
    link.mkdir()
    with pytest.raises(CommandError, match="in the way"):
        short_path.reachable_root(deep)


def test_a_short_name_is_forgotten_only_where_it_leads_to_the_folder(deep: Path, tmp_path: Path) -> None:
    link = short_path.reachable_root(deep)
    short_path.forget_short_name(deep)
    assert not link.is_symlink()
    link.symlink_to(tmp_path)
    short_path.forget_short_name(deep)
    assert link.readlink() == tmp_path
