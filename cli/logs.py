"""Reading what the parts of an installation printed, across the rotations of each log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import count as counting
from pathlib import Path
from typing import BinaryIO

_BLOCK = 64 * 1024
_CHECK_EVERY_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """The last ``count`` lines of a log, oldest first: what the newest file lacks comes from the older ones."""
    found = b""
    read: set[int] = set()
    for part in _newest_first(path):
        wanted = count - found.count(b"\n")
        if wanted < 0:
            break
        try:
            with part.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode in read:  # rotated meanwhile: it is the one before, under its new name
                    continue
                read.add(inode)
                found = _tail(file, wanted) + found  # a rotation may cut a line in two
        except FileNotFoundError:
            continue
    lines = found.splitlines()[-count:] if count else []
    return [line.decode(errors="replace") for line in lines]


def follow(path: Path, on_open: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Every line from now on, for ever; goes on in the new file when the log is rotated.

    ``on_open`` is called once nothing more can be missed.
    """
    file = _opened(path, at_end=True)
    on_open()
    begun = b""
    try:
        while True:
            rotated = _rotated(path, file)  # before reading: what was written until then is read now
            for line in file:
                begun += line
                if begun.endswith(b"\n"):
                    yield begun.decode(errors="replace").rstrip("\n")
                    begun = b""
            if rotated:
                file.close()
                file = _opened(path, at_end=False)
            else:
                time.sleep(_CHECK_EVERY_S)
    finally:
        file.close()


def _newest_first(path: Path) -> Iterator[Path]:
    """``a.log``, ``a.log.1``, …: as supervisord names what it puts aside."""
    yield path
    for number in counting(1):
        older = path.with_name(f"{path.name}.{number}")
        if not older.exists():
            return
        yield older


def _tail(file: BinaryIO, count: int) -> bytes:
    """The end of ``file``, with more than ``count`` line ends in it where there are so many."""
    position = file.seek(0, os.SEEK_END)
    found = b""
    while position > 0 and found.count(b"\n") <= count:
        step = min(_BLOCK, position)
        position = file.seek(position - step)
        found = file.read(step) + found
    return found


def _opened(path: Path, *, at_end: bool) -> BinaryIO:
    while not path.exists():
        time.sleep(_CHECK_EVERY_S)
    file = path.open("rb")
    if at_end:
        file.seek(0, os.SEEK_END)
    return file


def _rotated(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
