"""Reading what the parts of an installation printed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 64 * 1024
_CHECK_EVERY_S = 0.2


def last_lines(path: Path, count: int) -> list[str]:
    """The last ``count`` lines of a log; none when there is no log."""
    try:
        with path.open("rb") as file:
            return [line.decode(errors="replace") for line in _tail(file, count)]
    except FileNotFoundError:
        return []


def _tail(file: BinaryIO, count: int) -> list[bytes]:
    position = file.seek(0, os.SEEK_END)
    found = b""
    while position > 0 and found.count(b"\n") <= count:
        step = min(_BLOCK, position)
        position = file.seek(position - step)
        found = file.read(step) + found
    return found.splitlines()[-count:] if count else []


def follow(path: Path, on_open: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Every line from now on, for ever; goes on in the new file when the log is rotated.

    ``on_open`` is called once nothing more can be missed.
    """
    file = _opened(path, at_end=True)
    on_open()
    try:
        while True:
            for line in file:
                yield line.decode(errors="replace").rstrip("\n")
            if _rotated(path, file):
                file.close()
                file = _opened(path, at_end=False)
            else:
                time.sleep(_CHECK_EVERY_S)
    finally:
        file.close()


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
