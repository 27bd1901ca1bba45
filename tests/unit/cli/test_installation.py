"""Reading and replacing an installation's marker."""

from __future__ import annotations

import json
import os
import pwd
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.errors import CommandError, Exit
from cli.installation import Marker, Ports, find, load, state_folder, write_marker
from libs.shared.durable import write_private
from libs.shared.layout import FORMAT_VERSION, StateFolder


def marker(**changed: object) -> Marker:
    whole: dict[str, object] = {
        "format": FORMAT_VERSION,
        "installation_id": "abc",
        "product_version": "0.1.0",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "ports": Ports(http=8080, nats=4222),
    }
    return Marker.model_validate(whole | changed)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = write_marker(StateFolder(tmp_path), marker(admin_announced=True))
    assert load(tmp_path) == written


def test_addresses_follow_from_the_marker_and_hold_no_password(tmp_path: Path) -> None:
    made = write_marker(StateFolder(tmp_path), marker())
    assert made.http_url == "http://127.0.0.1:8080"
    assert made.nats_url == "nats://127.0.0.1:4222"
    assert made.database_url == f"postgresql://mongars@/mongars?host={tmp_path}/database/run"


def test_an_empty_folder_holds_no_installation(tmp_path: Path) -> None:
    assert find(StateFolder(tmp_path)) is None
    with pytest.raises(CommandError, match="there is no installation") as caught:
        load(tmp_path)
    assert caught.value.code is Exit.NOT_RUNNING
    assert "mongars up" in caught.value.remedy


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    write_marker(StateFolder(tmp_path), marker(format=FORMAT_VERSION + 1, product_version="9.0.0"))
    with pytest.raises(CommandError, match=r"newer monGARS \(version 9\.0\.0") as caught:
        load(tmp_path)
    assert "9.0.0 or newer" in caught.value.remedy


def test_a_newer_marker_of_the_same_format_is_read(tmp_path: Path) -> None:
    write_marker(StateFolder(tmp_path), marker())
    path = StateFolder(tmp_path).marker
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_later": 1}))
    assert load(tmp_path).marker == marker()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}'])
def test_a_broken_marker_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    StateFolder(tmp_path).marker.write_text(text)
    with pytest.raises(CommandError, match="can't be read"):
        load(tmp_path)
    assert StateFolder(tmp_path).marker.read_text() == text


def test_an_installation_has_one_name_whatever_path_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert state_folder(tmp_path / "link") == state_folder(tmp_path / "real" / ".." / "real")


def test_a_private_file_is_its_owners_alone_and_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"old")
    held = path.open("rb")
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert held.read() == b"old"  # whoever reads meanwhile sees the old one to its end
    held.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_private_file_is_written_over_what_a_killed_writer_left(tmp_path: Path) -> None:
    (tmp_path / "secret.new").write_bytes(b"half")
    write_private(tmp_path / "secret", b"whole")
    assert (tmp_path / "secret").read_bytes() == b"whole"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_an_installation_of_another_user_is_refused_by_that_users_name(tmp_path: Path) -> None:
    write_marker(StateFolder(tmp_path), marker())
    os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(CommandError, match="belongs to user nobody"):
        load(tmp_path)


@pytest.mark.parametrize("name", ['a"b', "a;b", "100%", "a\nb", "a'b"])
def test_a_folder_whose_name_no_configuration_file_can_quote_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="can't name a state folder"):
        state_folder(tmp_path / name)


@pytest.mark.parametrize("name", ["with blanks", "été"])
def test_other_unusual_names_are_fine(tmp_path: Path, name: str) -> None:
    assert state_folder(tmp_path / name).root == tmp_path / name
