"""The copy beside an upgrade: whole or not there, and put back by whoever comes after the power cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.upgrade.aside import Aside
from libs.shared.layout import StateFolder


class PowerCut(BaseException):
    """The machine went off."""


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    for path, text in (
        ("installation.json", "old"),
        ("keys/installation.key", "old key"),
        ("slots/data-keys.slots", "old slots"),
        ("database/data/base/1", "old rows"),
        ("models/large.gguf", "weights"),
        ("logs/api.log", "lines"),
    ):
        (made.root / path).parent.mkdir(parents=True, exist_ok=True)
        (made.root / path).write_text(text)
    return made


def change(folder: StateFolder) -> None:
    """What an upgrade does to a folder before it fails."""
    for path in ("installation.json", "slots/data-keys.slots", "database/data/base/1"):
        (folder.root / path).write_text("new")
    (folder.root / "database/data/base/2").write_text("new")


def content(folder: StateFolder) -> dict[str, str]:
    return {str(path.relative_to(folder.root)): path.read_text() for path in folder.root.rglob("*") if path.is_file()}


def test_what_an_upgrade_changed_is_as_before_after_going_back(folder: StateFolder) -> None:
    before = content(folder)
    Aside(folder).make()
    change(folder)
    Aside(folder).restore()
    assert content(folder) == before
    assert not (folder.root / "upgrade").exists()


def test_models_and_logs_are_not_copied(folder: StateFolder) -> None:
    Aside(folder).make()
    copied = {path.name for path in (folder.root / "upgrade" / "before").iterdir()}
    assert copied == {"installation.json", "keys", "slots", "database"}


def test_a_discarded_copys_keys_are_overwritten_before_they_are_unlinked(folder: StateFolder, tmp_path: Path) -> None:
    Aside(folder).make()
    held = tmp_path / "held"
    held.hardlink_to(folder.root / "upgrade" / "before" / "slots" / "data-keys.slots")
    Aside(folder).discard()
    assert held.read_bytes() != b"old slots"
    assert held.stat().st_size == len("old slots")
    assert (folder.root / "slots/data-keys.slots").read_text() == "old slots"
    assert not (folder.root / "upgrade").exists()


def test_going_back_is_finished_by_the_next_wherever_the_power_was_cut(
    folder: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(folder)
    cuts = 0
    while True:
        Aside(folder).make()
        change(folder)
        with monkeypatch.context() as patched:
            survived = _cut_after(patched, cuts)
            try:
                Aside(folder).restore()
            except PowerCut:
                assert (folder.root / "installation.json").exists(), "without its marker nobody would find it"
        if Aside(folder).whole or Aside(folder).being_restored:
            Aside(folder).restore()
        Aside(folder).clear()
        assert content(folder) == before, f"cut after {cuts} steps"
        if survived() < cuts:
            break
        cuts += 1
    assert cuts > 5


def _cut_after(patched: pytest.MonkeyPatch, steps: int) -> Callable[[], int]:
    done = 0
    rename = Path.rename

    def counted(self: Path, target: Path) -> Path:
        nonlocal done
        if done >= steps:
            raise PowerCut
        done += 1
        return rename(self, target)

    patched.setattr(Path, "rename", counted)
    return lambda: done


def test_a_copy_that_was_cut_off_is_thrown_away_and_nothing_changes(folder: StateFolder) -> None:
    before = content(folder)
    half = folder.root / "upgrade" / "copying" / "slots"
    half.mkdir(parents=True)
    (half / "data-keys.slots").write_text("ha")
    assert not Aside(folder).whole
    Aside(folder).clear()
    assert content(folder) == before


def test_a_name_that_reads_like_an_option_is_copied_like_any_other(folder: StateFolder) -> None:
    (folder.root / "--no-such-option").write_text("kept")
    before = content(folder)
    Aside(folder).make()
    change(folder)
    Aside(folder).restore()
    assert content(folder) == before
