"""Servers of models as the command keeps them: addresses, names, keys."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli import upstreams
from cli.errors import CommandError
from libs.shared.layout import StateFolder
from libs.shared.upstreams import AddedUpstream, read

SHED = AddedUpstream(name="shed", backend="openai", url="http://10.0.0.7:8000/v1", key=True)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    (tmp_path / "keys").mkdir()
    return StateFolder(tmp_path)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.example.com/v1", "example"),
        ("https://router.example/api/v1", "router"),
        ("http://192.168.1.20:11434", "192-168-1-20"),
        ("http://[fd00::7]:8000", "fd00-7"),
        ("http://Shed.local", "shed"),
    ],
)
def test_a_server_is_named_after_its_host(url: str, name: str) -> None:
    assert upstreams.name_for(url) == name
    assert upstreams.checked_name(name) == name


@pytest.mark.parametrize(
    "url", ["shed", "ftp://shed", "http://", "http://a b", "http://a:99999", "http://ada:secret@shed", "http://a?key=s"]
)
def test_what_is_no_address_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(CommandError):
        upstreams.checked_url(url)


@pytest.mark.parametrize("name", ["mongars", "Shed", "a/b", ""])
def test_a_name_that_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(CommandError):
        upstreams.checked_name(name)


def test_the_installation_itself_is_no_upstream() -> None:
    with pytest.raises(CommandError, match="itself"):
        upstreams.refuse_own("http://localhost:8000/v1", 8000)
    upstreams.refuse_own("http://localhost:8001", 8000)


def test_a_key_is_one_line_and_is_never_quoted(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-1\n")
    assert upstreams.checked_key(path) == "sk-1"
    for wrong in ("", "sk-secret\nmore", "sk secret", "sk-é"):
        path.write_text(wrong)
        with pytest.raises(CommandError) as refused:
            upstreams.checked_key(path)
        assert "secret" not in refused.value.problem + refused.value.remedy
    with pytest.raises(CommandError):
        upstreams.checked_key(tmp_path / "none")


def test_a_server_is_kept_with_its_key_apart_and_goes_with_it(folder: StateFolder) -> None:
    upstreams.keep(folder, SHED, "sk-1")
    other = AddedUpstream(name="attic", backend="ollama", url="http://10.0.0.8:11434")
    upstreams.keep(folder, other, None)
    assert read(folder.upstreams) == (SHED, other)
    key = folder.upstream_key("shed")
    assert (key.read_text(), stat.S_IMODE(key.stat().st_mode)) == ("sk-1\n", 0o600)
    assert "sk-1" not in folder.upstreams.read_text()
    assert str(folder.root) not in folder.upstreams.read_text(), "the folder can be moved"
    upstreams.remove(folder, "shed")
    assert read(folder.upstreams) == (other,)
    assert not key.exists()
    with pytest.raises(CommandError):
        upstreams.remove(folder, "shed")


def test_a_file_that_can_t_be_read_is_said_plainly(folder: StateFolder) -> None:
    folder.upstreams.write_text("[{")
    with pytest.raises(CommandError, match="can't be read"):
        upstreams.added(folder)
