"""What the caretaker does for backups: once when one is due, and the journal's copies once it has grown."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.backups import duty, records
from cli.errors import CommandError
from libs.shared.layout import StateFolder

Calls = list[tuple[str, ...]]


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path)
    made.backups.mkdir()
    return made


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str, str], Calls]:
    """The command that the caretaker starts, answering so; what it was started with."""

    def answer(code: int, said: str, complained: str) -> Calls:
        calls: Calls = []

        async def command(_: StateFolder, *arguments: str) -> tuple[int, str, str]:
            calls.append(arguments)
            return code, said, complained

        monkeypatch.setattr(duty, "command", command)
        return calls

    return answer


def schedule(folder: StateFolder, since: datetime) -> None:
    minute_ago = datetime.now() - timedelta(minutes=1)
    records.set_schedule(
        folder,
        records.Schedule(daily=f"{minute_ago:%H:%M}", to="/disk", keep_daily=7, keep_weekly=4, since=since),
    )


async def test_what_was_missed_while_the_installation_was_off_is_made_once(
    folder: StateFolder, answering: Callable[[int, str, str], Calls]
) -> None:
    calls = answering(0, json.dumps({"file": "/disk/one.backup"}), "")
    assert await duty.make_scheduled(folder) == duty.NOTHING
    schedule(folder, datetime.now(UTC) - timedelta(days=3))
    assert await duty.make_scheduled(folder) == "made one.backup"
    records.note(folder, attempted_at=datetime.now(UTC))  # as the command does
    await duty.make_scheduled(folder)
    assert calls == [("backup", "scheduled", "--json")]


async def test_a_backup_that_fails_is_a_duty_that_failed_in_the_commands_words(
    folder: StateFolder, answering: Callable[[int, str, str], Calls]
) -> None:
    answering(1, "", "✗ Copying\nmongars: the disk is full\n  remedy: make room\n")
    schedule(folder, datetime.now(UTC) - timedelta(days=3))
    with pytest.raises(CommandError, match="the disk is full"):
        await duty.make_scheduled(folder)


async def test_the_journal_is_copied_when_it_has_grown(
    folder: StateFolder, answering: Callable[[int, str, str], Calls]
) -> None:
    calls = answering(0, "", "")
    assert await duty.carry_journal(folder) == "nothing was forgotten"
    for line in (b"one\n", b"one\ntwo\n"):
        folder.forgettings.write_bytes(line)
        await duty.carry_journal(folder)
        await duty.carry_journal(folder)
    assert calls == [("backup", "carry")] * 2
