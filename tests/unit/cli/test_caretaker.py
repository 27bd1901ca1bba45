"""The caretaker's rounds: every duty on its own, its last turn told, and an end when told to stop."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from cli.caretaker import record
from cli.caretaker.child import command
from cli.caretaker.duties import Duty, Turn, taken
from cli.caretaker.roster import DUTIES
from cli.caretaker.rounds import Rounds
from cli.errors import CommandError
from libs.shared.layout import StateFolder


def folder(path: Path) -> StateFolder:
    return StateFolder(path)


async def test_a_duty_that_fails_or_hangs_holds_up_no_other(tmp_path: Path) -> None:
    async def fails(_folder: StateFolder) -> str:
        raise ValueError("somebody's secret")

    async def hangs(_folder: StateFolder) -> str:
        await asyncio.Event().wait()
        return ""

    others_had_turns = asyncio.Event()

    async def works(_folder: StateFolder) -> str:
        if {"fails", "hangs"} <= set(rounds.turns):
            others_had_turns.set()
        return "done"

    duties = [
        Duty("fails", 0.01, fails, first_after_s=0),
        Duty("hangs", 0.01, hangs, timeout_s=0.05, first_after_s=0),
        Duty("works", 0.01, works, first_after_s=0),
    ]
    rounds, stopping = Rounds(folder(tmp_path), duties), asyncio.Event()
    going = asyncio.create_task(rounds.go(stopping))
    async with asyncio.timeout(5):
        await others_had_turns.wait()
        stopping.set()
        await going
    said = record.read(folder(tmp_path))
    assert (said["works"]["ok"], said["works"]["detail"]) == (True, "done")
    assert (said["fails"]["ok"], said["fails"]["detail"]) == (False, "ValueError")
    assert not said["hangs"]["ok"]
    assert "secret" not in (tmp_path / "caretaker.json").read_text()


async def test_a_command_errors_words_are_kept_and_bounded(tmp_path: Path) -> None:
    async def refuses(_folder: StateFolder) -> str:
        raise CommandError("the disk is full " + "x" * 1000)

    turn = await taken(Duty("backup", 1, refuses), folder(tmp_path), lambda: 5.0)
    assert not turn.ok
    assert turn.detail.startswith("the disk is full")
    assert len(turn.detail) <= 200


async def test_stopping_cancels_the_turn_under_way(tmp_path: Path) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def long(_folder: StateFolder) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    stopping = asyncio.Event()
    going = asyncio.create_task(Rounds(folder(tmp_path), [Duty("long", 1, long, first_after_s=0)]).go(stopping))
    async with asyncio.timeout(5):
        await begun.wait()
        stopping.set()
        await going
    assert cancelled.is_set()


def test_a_damaged_record_reads_as_empty(tmp_path: Path) -> None:
    for text in ("", "[]", '{"duties": 3}', '{"duties": {"a": 1}}'):
        (tmp_path / "caretaker.json").write_text(text)
        assert record.read(folder(tmp_path)) == {}


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record.write(folder(tmp_path), {"space": Turn(10.0, 0.5, True, "9 MiB free")})
    assert record.read(folder(tmp_path)) == {"space": {"at": 10.0, "took_s": 0.5, "ok": True, "detail": "9 MiB free"}}
    assert json.loads((tmp_path / "caretaker.json").read_text())


async def test_a_command_of_its_own_tells_its_outcome(tmp_path: Path) -> None:
    code, _, complained = await command(folder(tmp_path), "status")
    assert code == 3
    assert "there is no installation" in complained


def test_duties_have_different_names_and_bounded_turns() -> None:
    assert len({duty.name for duty in DUTIES}) == len(DUTIES)
    assert all(duty.timeout_s > 0 and duty.period_s > 0 for duty in DUTIES)
