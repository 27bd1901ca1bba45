"""Copies of the journal of forgettings beside the backups: what was forgotten stays so where nothing else is left."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cli.backups.recovery_key import Seal
from cli.errors import CommandError

_PREFIX = "mongars-forgettings-"
_SUFFIX = ".journal"


def copy_of(folder: Path, seal: Seal) -> Path:
    """Where the copy lies in a folder of backups."""
    return folder / f"{_PREFIX}{seal.name}{_SUFFIX}"


def beside(place: Path, name: str) -> Path | None:
    """The copy for the recovery key ``name`` beside a backup, if there is one."""
    found = place.parent / f"{_PREFIX}{name}{_SUFFIX}"
    return found if found.is_file() else None


def carry(journal: Path, folder: Path, seal: Seal) -> int:
    """Adds the journal's lines that the copy lacks, and nothing else changes there; how many. Raises OSError."""
    target = copy_of(folder, seal)
    missing = [line for line in lines_of([journal]) if line not in set(lines_of([target]))]
    append(target, missing)
    return len(missing)


def lines_of(journals: Iterable[Path]) -> list[bytes]:
    """The whole lines of all, each once; a missing journal has none."""
    found: dict[bytes, None] = {}
    for journal in journals:
        if journal.is_file():
            content = journal.read_bytes()
            found.update(dict.fromkeys(line for line in content.split(b"\n")[:-1] if line))
    return list(found)


def append(target: Path, lines: Iterable[bytes]) -> None:
    """On disk when it returns. Raises OSError."""
    content = b"".join(line + b"\n" for line in lines)
    if not content:
        return
    file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.ftruncate(file, os.pread(file, os.fstat(file).st_size, 0).rfind(b"\n") + 1)  # what was cut short comes again
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)


def journals_at(place: Path) -> list[Path]:
    """A journal, or every one in a folder. Raises CommandError when there is none."""
    found = sorted(place.glob(f"*{_SUFFIX}")) if place.is_dir() else [place] if place.is_file() else []
    if not found:
        raise CommandError(f"there is no journal of forgettings at {place}", "name a file …journal, or its folder")
    return found
