"""The other backups beside one: what is restored from an older one must know of the newer, which may hold a text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cli.backups.contents import described
from cli.backups.making import SUFFIX
from cli.backups.recovery_key import RecoveryKey
from cli.errors import CommandError
from libs.shared.contracts.backups import Backup, BackupState


def found(folder: Path, key: RecoveryKey, *, but: Path) -> Iterator[Backup]:
    """Those in ``folder`` that were sealed to the same recovery key, by their descriptions."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path == but:
            continue
        with suppress(CommandError, OSError), path.open("rb") as file:
            where = {"state": BackupState.KEPT, "place": str(path), "size_bytes": path.stat().st_size}
            yield described(file, key).backup.model_copy(update=where)
