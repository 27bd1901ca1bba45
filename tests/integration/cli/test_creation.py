"""Making an installation: all of it or nothing, open to nobody else."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import creation
from cli.creation import make, prepare_folder
from cli.database import creation as database
from cli.database.owner import SYSTEM_USER, current_owner
from cli.errors import CommandError
from cli.installation import Installation, find, load, state_folder
from cli.progress import Progress
from libs.shared.layout import StateFolder


def create(root: Path, progress: Progress) -> Installation:
    folder = state_folder(root)
    prepare_folder(folder)
    return make(folder, progress, http_port=None)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return create(tmp_path_factory.mktemp("made") / "state", Progress(quiet=True))


def test_what_was_made_is_found_again(made: Installation) -> None:
    assert load(made.folder.root) == made


def test_nothing_but_postgresqls_own_folder_is_open_to_another_user(made: Installation) -> None:
    root = made.folder.root
    passed_through = {root, root / "database"}
    for path in (root, *root.rglob("*")):
        if path.is_relative_to(made.folder.database) or path == made.folder.database_socket:
            continue
        allowed = (0o711 if os.geteuid() == 0 else 0o700) if path in passed_through else 0o700
        assert mode(path) & ~allowed == 0, f"{path} has mode {mode(path):o}"


def test_postgresqls_folders_belong_to_its_user_alone(made: Installation) -> None:
    assert mode(made.folder.database) == 0o700
    assert mode(made.folder.database_socket) == 0o750
    assert made.folder.database.owner() == (SYSTEM_USER if os.geteuid() == 0 else current_owner().name)


def test_keys_are_random_and_whole(made: Installation, tmp_path: Path, progress: Progress) -> None:
    other = create(tmp_path / "other", progress)
    for key in ("installation_key", "token_key"):
        first, second = (getattr(i.folder, key).read_bytes() for i in (made, other))
        assert len(first) == len(second) == 32
        assert first != second
    assert made.marker.installation_id != other.marker.installation_id
    assert made.folder.database_password.read_text() != other.folder.database_password.read_text()


def test_no_part_of_the_making_is_left(made: Installation) -> None:
    assert not list(made.folder.root.rglob("*.new"))
    assert not (made.folder.root / ".creating").exists()


def test_the_password_is_nowhere_but_in_its_file(made: Installation) -> None:
    password = made.folder.database_password.read_bytes()
    holders = [p for p in made.folder.root.rglob("*") if p.is_file() and password in p.read_bytes()]
    assert holders == [made.folder.database_password]


def test_only_the_application_and_the_owner_are_let_in(made: Installation) -> None:
    rules = (made.folder.database / "pg_hba.conf").read_text()
    lines = [line.split() for line in rules.splitlines() if not line.startswith("#")]
    assert lines == [
        ["local", "all", "postgres", "peer", "map=owner"],
        ["local", "mongars", "mongars", "scram-sha-256"],
    ]


@pytest.mark.parametrize("content", ["file", "folder"])
def test_a_folder_in_other_use_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    kept = tmp_path / content
    kept.mkdir() if content == "folder" else kept.write_text("mine")
    with pytest.raises(CommandError, match="not empty"):
        prepare_folder(StateFolder(tmp_path))
    assert list(tmp_path.iterdir()) == [kept]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("mine")
    with pytest.raises(CommandError, match="not a folder"):
        prepare_folder(StateFolder(tmp_path / "state"))
    assert (tmp_path / "state").read_text() == "mine"


def test_a_disk_with_too_little_room_is_refused_before_anything_is_written(small_disk: Path) -> None:
    with pytest.raises(CommandError, match=r"has \d+ MiB free, and 256 MiB are needed") as caught:
        prepare_folder(StateFolder(small_disk / "state"))
    assert "--state DIR" in caught.value.remedy
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_behind(
    small_disk: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "CREATION_SPACE_MIB", 1)
    with pytest.raises(CommandError, match=r"the disk of .* is full"):
        create(small_disk / "state", progress)
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_would_leave_pieces_if_nobody_tidied(
    small_disk: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creation, "CREATION_SPACE_MIB", 1)
    monkeypatch.setattr(creation, "_discard", lambda root: None)
    with pytest.raises(CommandError, match=r"the disk of .* is full"):
        create(small_disk / "state", progress)
    assert list(small_disk.iterdir()) != []


def test_an_unfinished_folder_would_be_refused_as_foreign_without_its_mark(
    tmp_path: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        broken_after(database._initdb, cut)
        with pytest.raises(SystemExit):
            create(tmp_path / "state", progress)
    (tmp_path / "state" / ".creating").unlink()
    with pytest.raises(CommandError, match="not empty"):
        create(tmp_path / "state", progress)


def broken_after(step: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The power goes after ``step``: nobody tidies up."""

    def stopping(*arguments: object, **named: object) -> None:
        step(*arguments, **named)
        raise SystemExit("power cut")

    monkeypatch.setattr(database, step.__name__, stopping)


@pytest.mark.parametrize("step", ["_make_folders", "_initdb", "_write_access", "create"])
def test_a_making_that_was_cut_off_anywhere_is_no_installation_and_is_done_again(
    tmp_path: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as cut:
        broken_after(getattr(database, step), cut)
        with pytest.raises(SystemExit):
            create(tmp_path / "state", progress)
    folder = state_folder(tmp_path / "state")
    assert (folder.root / ".creating").exists()
    assert find(folder) is None
    made = create(folder.root, progress)
    assert load(folder.root) == made
    assert not list(folder.root.rglob("*.new"))


def test_an_interruption_from_the_keyboard_leaves_nothing_behind(
    tmp_path: Path, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(database, "_write_access", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "state", progress)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's PostgreSQL runs as that user")
def test_a_folder_below_a_closed_one_works_for_root(tmp_path: Path, progress: Progress) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = create(closed / "state", progress)
    seen = subprocess.run(
        ["setpriv", "--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--clear-groups", "ls", made.folder.root],
        capture_output=True,
        check=False,
    )
    assert seen.returncode != 0  # PostgreSQL's user can't walk there, and needn't
    assert (made.folder.database / "PG_VERSION").exists()
