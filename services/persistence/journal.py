"""The journal of forgettings: one sealed line each, outside of the database, so that an older backup that is restored
learns what was forgotten since.

A line is base64 of a secretbox under a key that follows from the installation key: nobody else can read one or write
one. Its content is a user's id and the receipt, never what was forgotten. Lines are a set: their order and repetition
mean nothing, so that copies of the journal are joined by taking the lines of all.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from libs.shared.contracts.base import Message
from libs.shared.contracts.common import Id
from libs.shared.contracts.forgetting import Receipt
from libs.shared.sealing import Unreadable, seal, unseal

PURPOSE = b"mongars journal"
"""Of the derived key."""


_LONGEST_LINE = 64 * 1024


class JournalDamaged(Exception):
    """A line that this installation didn't write, or that was altered since."""


class Entry(Message):
    """Something that was forgotten, and whose it was."""

    user_id: Id
    receipt: Receipt


def append(path: Path, key: bytes, entry: Entry) -> None:
    """Blocking. The entry is on disk when this returns. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = base64.b64encode(seal(key, entry.model_dump_json().encode())) + b"\n"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        end = os.pread(file, _LONGEST_LINE, max(0, size - _LONGEST_LINE))
        # a line that a crash cut short was of a forgetting that is repeated
        os.ftruncate(file, size - len(end) + end.rfind(b"\n") + 1)
        os.write(file, line)
        os.fsync(file)
        if size == 0:
            _sync(path.parent)
    finally:
        os.close(file)


def read(path: Path, key: bytes) -> Iterator[Entry]:
    """Every entry once; none where there is no journal. An end that a crash cut short is passed over.

    Raises JournalDamaged.
    """
    if not path.exists():
        return
    seen: set[bytes] = set()
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line or line in seen:
            continue
        seen.add(line)
        entry = _opened(line, key)
        if entry is not None:
            yield entry
        elif number != len(lines):
            raise JournalDamaged(f"line {number} of {path.name} is damaged, or of another installation")


def _opened(line: bytes, key: bytes) -> Entry | None:
    try:
        return Entry.model_validate_json(unseal(key, base64.b64decode(line, validate=True)))
    except (binascii.Error, Unreadable, ValidationError):
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
