"""Disks that can be filled, and a terminal's silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.progress import Progress
from tests.support.disks import mounted


@pytest.fixture
def progress() -> Progress:
    return Progress(quiet=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for the keys, and for half of PostgreSQL's first files."""
    with mounted(tmp_path / "disk", 24) as disk:
        yield disk
