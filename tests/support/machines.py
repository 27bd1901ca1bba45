"""Machines that were recorded (tests/data/boards), laid out as files that a test may change."""

from __future__ import annotations

from pathlib import Path

import yaml

BOARDS = Path(__file__).parents[1] / "data" / "boards"


def lay_out(name: str, root: Path) -> None:
    """The recorded machine's ``/proc`` and ``/sys`` below ``root``, and programs that repeat what its own answered."""
    for path, text in yaml.safe_load((BOARDS / f"{name}.yaml").read_text()).items():
        write(root, path, text)


def write(root: Path, path: str, text: str) -> None:
    """One file of it says something else."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n")
    if path.startswith("usr/bin/"):
        target.chmod(0o755)
