"""The journal of forgettings: what was written down is read again, by nobody else, whatever a crash cut short."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.shared.contracts.forgetting import Receipt, Removed
from services.persistence import journal
from services.persistence.journal import Entry, JournalDamaged

KEY = b"k" * 32


def entry(number: int) -> Entry:
    receipt = Receipt(
        receipt_id=f"r{number}",
        scope="memory",
        subject_id=f"memory-{number}",
        at=datetime(2026, 3, 1, tzinfo=UTC),
        removed=Removed(),
        key="k",
        signature="s",
    )
    return Entry(user_id="u", receipt=receipt)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "forgettings.journal"


def test_what_was_written_down_is_read_again_and_by_nobody_else(path: Path) -> None:
    assert list(journal.read(path, KEY)) == []
    for number in (1, 2):
        journal.append(path, KEY, entry(number))
    assert list(journal.read(path, KEY)) == [entry(1), entry(2)]
    assert b"memory-1" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(JournalDamaged):
        list(journal.read(path, b"x" * 32))


def test_a_line_that_a_crash_cut_short_costs_nothing_else(path: Path) -> None:
    journal.append(path, KEY, entry(1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert list(journal.read(path, KEY)) == [entry(1)]
    journal.append(path, KEY, entry(2))
    assert list(journal.read(path, KEY)) == [entry(1), entry(2)]


def test_joined_copies_tell_each_once_in_whatever_order(path: Path) -> None:
    journal.append(path, KEY, entry(1))
    journal.append(path, KEY, entry(2))
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join((second, first, second, b"")))
    assert list(journal.read(path, KEY)) == [entry(2), entry(1)]


def test_an_altered_line_is_refused(path: Path) -> None:
    for number in (1, 2):
        journal.append(path, KEY, entry(number))
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match="line 1"):
        list(journal.read(path, KEY))
