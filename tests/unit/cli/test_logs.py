"""Reading logs from their end, and following them through a rotation."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from threading import Event, Thread

import pytest

from cli.logs import follow, last_lines


def test_the_last_lines_are_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {n}\n" for n in range(10)))
    assert last_lines(path, 3) == ["line 7", "line 8", "line 9"]


def test_a_line_that_spans_blocks_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    long = "x" * 200_000
    path.write_text(f"first\n{long}\nlast\n")
    assert last_lines(path, 2) == [long, "last"]


@pytest.mark.parametrize(("count", "expected"), [(0, []), (5, ["one"])])
def test_a_short_log_gives_what_it_has(tmp_path: Path, count: int, expected: list[str]) -> None:
    (tmp_path / "a.log").write_text("one\n")
    assert last_lines(tmp_path / "a.log", count) == expected


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "a.log", 5) == []


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"bad \xff byte\n")
    assert last_lines(tmp_path / "a.log", 1) == ["bad \N{REPLACEMENT CHARACTER} byte"]


def test_following_begins_at_the_end_and_goes_on_in_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("before\n")
    opened = Event()
    seen: list[str] = []

    def read() -> None:
        seen.extend(islice(follow(path, opened.set), 2))

    reader = Thread(target=read, daemon=True)
    reader.start()
    assert opened.wait(5)
    with path.open("a") as file:
        file.write("one\n")
    path.rename(tmp_path / "a.log.1")
    path.write_text("two\n")
    reader.join(5)
    assert seen == ["one", "two"]


def test_what_the_newest_file_lacks_comes_from_the_older_ones(tmp_path: Path) -> None:
    for name, rows in (("a.log.2", (1, 2)), ("a.log.1", (3, 4)), ("a.log", (5,))):
        (tmp_path / name).write_text("".join(f"line {row}\n" for row in rows))
    assert last_lines(tmp_path / "a.log", 4) == ["line 2", "line 3", "line 4", "line 5"]
    assert last_lines(tmp_path / "a.log", 99) == [f"line {row}" for row in range(1, 6)]
    assert last_lines(tmp_path / "a.log", 1) == ["line 5"]


def test_a_line_that_is_still_being_written_is_followed_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch()
    opened = Event()
    seen: list[str] = []
    reader = Thread(target=lambda: seen.extend(islice(follow(path, opened.set), 1)), daemon=True)
    reader.start()
    assert opened.wait(5)
    with path.open("a", buffering=1) as file:
        file.write("first half, ")
        file.flush()
        reader.join(0.5)
        file.write("second half\n")
    reader.join(5)
    assert seen == ["first half, second half"]
