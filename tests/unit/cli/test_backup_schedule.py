"""When backups are made by themselves, which of them stay, and the journal's copies beside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cli.backups import journal_copies, records
from cli.backups.due import is_due, latest_time
from cli.backups.recovery_key import RecoveryKey
from cli.backups.retention import surplus
from cli.backups.state import backup_state, backup_words
from libs.shared.contracts.backups import Backup, BackupState
from libs.shared.contracts.common import Position
from libs.shared.layout import StateFolder

START = datetime(2026, 1, 5, 3, tzinfo=UTC)
"""A Monday."""


def backup(hours: int, *, scheduled: bool = True, state: BackupState = BackupState.KEPT) -> Backup:
    at = START + timedelta(hours=hours)
    return Backup(
        backup_id=f"b{hours}-{scheduled}-{state}",
        place=f"/backups/{hours}",
        cut=Position(epoch="e", sequence=hours),
        cut_at=at,
        taken_at=at,
        last_ordinal=hours,
        scheduled=scheduled,
        state=state,
    )


some_backups = st.lists(
    st.builds(
        backup,
        st.integers(0, 24 * 120),
        scheduled=st.booleans(),
        state=st.sampled_from(BackupState),
    ),
    max_size=60,
    unique_by=lambda b: b.backup_id,
)


def left(backups: list[Backup], daily: int, weekly: int) -> list[Backup]:
    gone = {b.backup_id for b in surplus(backups, keep_daily=daily, keep_weekly=weekly, zone=UTC)}
    return [b for b in backups if b.backup_id not in gone]


@given(some_backups, st.integers(1, 10), st.integers(0, 6))
def test_the_newest_whole_one_and_those_made_by_hand_always_stay(
    backups: list[Backup], daily: int, weekly: int
) -> None:
    gone = surplus(backups, keep_daily=daily, keep_weekly=weekly, zone=UTC)
    whole = [b for b in backups if b.scheduled and b.state is BackupState.KEPT]
    assert all(b in whole for b in gone)
    if whole:
        assert max(whole, key=lambda b: (b.cut_at, b.backup_id)) not in gone


@given(some_backups, st.integers(1, 10), st.integers(0, 6))
def test_no_more_stay_than_asked_for_and_each_last_day_has_its_newest(
    backups: list[Backup], daily: int, weekly: int
) -> None:
    stay = [b for b in left(backups, daily, weekly) if b.scheduled and b.state is BackupState.KEPT]
    assert len(stay) <= daily + weekly
    whole = [b for b in backups if b.scheduled and b.state is BackupState.KEPT]
    days = sorted({b.cut_at.date() for b in whole}, reverse=True)[:daily]
    for day in days:
        assert max((b for b in whole if b.cut_at.date() == day), key=lambda b: (b.cut_at, b.backup_id)) in stay


@given(some_backups, st.integers(1, 10), st.integers(0, 6))
def test_deleting_what_can_go_leaves_nothing_that_can_go(backups: list[Backup], daily: int, weekly: int) -> None:
    stay = left(backups, daily, weekly)
    assert left(stay, daily, weekly) == stay


def test_seven_days_and_four_weeks_of_daily_backups() -> None:
    daily = [backup(24 * day) for day in range(60)]
    kept = left(daily, 7, 4)
    ages = [59 - int(b.last_ordinal / 24) for b in kept]
    assert ages == [18, 11, 6, 5, 4, 3, 2, 1, 0]  # it is a Thursday: two Sundays beyond the days, one among them


def test_a_backup_is_due_once_after_its_time_and_what_was_missed_is_made_once() -> None:
    now = datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert latest_time("03:00", now) == datetime(2026, 3, 4, 3, tzinfo=UTC)
    assert latest_time("13:00", now) == datetime(2026, 3, 3, 13, tzinfo=UTC)
    assert is_due("03:00", now - timedelta(days=9), now)
    assert not is_due("03:00", now - timedelta(minutes=5), now)
    assert not is_due("13:00", datetime(2026, 3, 3, 13, 1, tzinfo=UTC), now)


def test_a_clock_that_was_set_back_does_not_stop_the_schedule() -> None:
    now = datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert is_due("03:00", now + timedelta(days=300), now)


def test_status_tells_of_the_last_backup_and_of_a_failure_since(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert backup_words(folder).startswith("none")
    success = records.Success(at=START, backup_id="b", place="/backups/b", size_bytes=9, took_s=1.0)
    records.note(folder, success=success)
    assert backup_state(folder)["failing"] is False
    assert "/backups/b" in backup_words(folder)
    records.note(folder, failure=records.Failure(at=START + timedelta(days=1), problem="the disk is full"))
    assert backup_state(folder)["failing"] is True
    assert "the disk is full" in backup_words(folder)


def test_a_copy_of_the_journal_gets_what_it_lacks_and_loses_nothing(tmp_path: Path) -> None:
    seal = RecoveryKey(b"k" * 32).seal
    journal, disk = tmp_path / "forgettings.journal", tmp_path / "disk"
    disk.mkdir()
    journal.write_bytes(b"one\ntwo\n")
    assert journal_copies.carry(journal, disk, seal) == 2
    copy = journal_copies.copy_of(disk, seal)
    copy.write_bytes(copy.read_bytes() + b"of another life\ntor")
    journal.write_bytes(b"one\ntwo\nthree\n")
    assert journal_copies.carry(journal, disk, seal) == 1
    assert journal_copies.lines_of([copy]) == [b"one", b"two", b"of another life", b"three"]
    assert journal_copies.carry(journal, disk, seal) == 0
