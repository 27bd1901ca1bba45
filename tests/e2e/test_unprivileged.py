"""An installation that belongs to nobody in particular: it runs, it is listed, and it is removed without a trace."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.database.binaries import from_wheel, traversable
from cli.service.installing import as_user
from tests.support.installation import ROOT, Installation, unusual_port

_USER = "nobody"


@dataclass
class AsNobody(Installation):
    """The same command, run by a user who owns nothing but the state folder."""

    home: Path = field(default_factory=Path)
    python: str = sys.executable

    def command(self, *arguments: str) -> list[str]:
        return as_user(_USER, self.python, "-m", "cli", *arguments)

    @property
    def shell(self) -> dict[str, str]:
        packages = sysconfig.get_path("purelib")
        return super().shell | {
            "HOME": str(self.home),
            "PATH": f"{sysconfig.get_path('scripts')}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{ROOT}:{packages}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def reachable_python() -> str:
    """One that every user may run: ours, or the system's of the same version where ours lies in root's home."""
    if traversable(Path(sys.executable).resolve().parent):
        return sys.executable
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if not Path(system).exists():
        pytest.skip(f"other users can't reach {Path(sys.executable).resolve()}, and there is no {system}")
    return system


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsNobody]:
    if os.geteuid() != 0:
        pytest.skip("the whole suite runs as an ordinary user, so this is what every other test does")
    if not traversable(ROOT) or not traversable(Path(sys.prefix)) or not traversable(from_wheel().folder):
        pytest.skip(f"other users can't reach {ROOT}")
    home = Path("/tmp") / f"mongars-nobody-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    found = AsNobody(home / "state", home=home, python=reachable_python())
    try:
        yield found
    finally:
        if found.state.exists():
            found.run("down", "--kill")
            found.run("uninstall", "--yes")
        home.rmdir()


def test_an_ordinary_user_runs_and_removes_an_installation(made: AsNobody) -> None:
    made.up("--port", str(unusual_port()))
    owners = {path.stat().st_uid for path in made.state.rglob("*") if not path.is_symlink()}
    assert owners == {65534}, "PostgreSQL runs as the same user: no system user is needed"
    made.mongars("memory", "add", "The spare key hangs in the barn.", "--user", "ada")
    assert "barn" in made.mongars("memory", "search", "Where is the spare key?", "--user", "ada")
    asked = made.run("uninstall")
    assert asked.returncode != 0, "without an answer nothing is removed"
    assert str(made.state) in asked.stdout
    assert made.ready()
    said = json.loads(made.mongars("uninstall", "--yes", "--json"))
    assert said["kept"] == []
    assert not made.state.exists()
    assert made.processes() == []
    assert list(made.home.iterdir()) == []
