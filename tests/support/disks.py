"""Small file systems that a test may fill."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PIECE = 256 * 1024


@contextmanager
def mounted(folder: Path, size_mib: int) -> Iterator[Path]:
    """A file system of its own at ``folder``; mounting takes root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0755", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize(folder: Path, size_mib: int) -> None:
    """Another size for what ``mounted`` made, while it is used."""
    subprocess.run(["mount", "-o", f"remount,size={size_mib}m", folder], check=True)


def fill(file: Path) -> None:
    """Writes into ``file`` until not a byte more fits onto its disk."""
    with file.open("ab", buffering=0) as writing:
        size = _PIECE
        while size:
            try:
                os.write(writing.fileno(), b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
