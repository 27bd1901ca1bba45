"""Disks that can be filled, and a terminal's silence."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.progress import Progress


@pytest.fixture
def progress() -> Progress:
    return Progress(quiet=True)


@contextmanager
def _mounted(folder: Path, size_mib: int) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0755", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the keys, and for half of PostgreSQL's first files."""
    with _mounted(tmp_path / "disk", 24) as disk:
        yield disk
