"""Whether a backup is as it was when it was made: every byte of it read, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.backups.contents import DATABASE, KEYS, About, Account, unpack
from cli.backups.recovery_key import RecoveryKey
from cli.backups.sealed_file import Reader, damaged
from cli.errors import CommandError, Exit


def checked(file: Path, key: RecoveryKey) -> About:
    """Its description, once all of it was opened. Raises CommandError."""
    return opened(file, key)[0]


def opened(file: Path, key: RecoveryKey) -> tuple[About, Account]:
    """Its description and its account. Raises CommandError for one changed, missing, moved or added byte."""
    told: list[About] = []
    with _open(file) as reading:
        account = unpack(reading, key, told.append, lambda _: _pass_over, lambda _: None)
    names = {member.name for member in account.members}
    if not {KEYS, DATABASE} <= names:
        raise damaged("keys or database are missing")
    return told[0], account


def outer(file: Path) -> dict[str, Any]:
    """What can be known without the recovery key: the header, once length and checksum fit. Raises CommandError."""
    with _open(file) as reading:
        reader = Reader(reading)
        reader.check_structure()
    return {name: value for name, value in reader.header.items() if name != "file_key"}


def _open(file: Path) -> Any:
    try:
        return file.open("rb")
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}", "name a backup's file", code=Exit.USAGE) from None


def _pass_over(_: bytes) -> None:
    return None
