"""Looking at every disk that an installation writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cli.doctor.facts import Disk
from libs.shared.layout import StateFolder


def existing(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not path.exists():
        path = path.parent
    return path


def disks(folder: StateFolder) -> Iterator[Disk]:
    """Each file system once, the state folder's first: parts of the folder may lie on disks of their own."""
    seen: set[int] = set()
    inside = (folder.database, folder.broker, folder.slots.parent, folder.models, folder.logs, folder.run)
    for path in (existing(folder.root), *inside):
        try:
            device, space = path.stat().st_dev, os.statvfs(path)
        except OSError:
            continue
        if device not in seen:
            seen.add(device)
            yield Disk(
                path=str(path),
                free_bytes=space.f_bavail * space.f_frsize,
                total_bytes=space.f_blocks * space.f_frsize,
                read_only=bool(space.f_flag & os.ST_RDONLY),
                free_inodes=space.f_favail if space.f_files else None,
            )
