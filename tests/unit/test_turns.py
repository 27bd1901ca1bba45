"""Turns between tests: nobody runs beside who is alone, and nobody overtakes who waits for that."""

from __future__ import annotations

import fcntl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.turns import turn

WITHIN_S = 60.0


def test_nobody_runs_beside_who_is_alone(tmp_path: Path) -> None:
    inside: list[bool] = []
    beside: list[int] = []

    def take(alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            inside.append(alone)
            time.sleep(0)  # lets another thread come in, if it may
            if any(inside):
                beside.append(len(inside))
            inside.remove(alone)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [number % 3 == 0 for number in range(300)]))
    assert set(beside) == {1}
    assert len(beside) == 100


def test_those_who_need_not_be_alone_run_side_by_side(tmp_path: Path) -> None:
    with turn(tmp_path, alone=False), ThreadPoolExecutor(1) as pool:

        def come_in() -> bool:
            with turn(tmp_path, alone=False):
                return True

        assert pool.submit(come_in).result(WITHIN_S)


def test_who_waits_to_be_alone_is_not_overtaken(tmp_path: Path) -> None:
    order: list[str] = []

    def take(name: str, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with turn(tmp_path, alone=False):
            first = pool.submit(take, "alone", True)
            until_the_door_is_shut(tmp_path)
            later = pool.submit(take, "later", False)
        first.result(WITHIN_S)
        later.result(WITHIN_S)
    assert order == ["alone", "later"]


def until_the_door_is_shut(folder: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while True:
        with (folder / "door").open() as door:
            try:
                fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)
