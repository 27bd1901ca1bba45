"""``scripts/install`` on machines whose Python won't do: one line that says so, and the one command that mends it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.installation import ROOT

_TOOLS = ("sh", "dirname", "cat")


@dataclass
class Machine:
    """A folder with the script in it, and nothing on its PATH but what a test puts there."""

    folder: Path

    @property
    def programs(self) -> Path:
        return self.folder / "bin"

    def has(self, name: str, script: str = "exit 1") -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def install(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "scripts" / "install"],
            env={"PATH": str(self.programs), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.programs.mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "install", tmp_path / "scripts" / "install")
    (tmp_path / "scripts" / "install_packages.py").write_text("print('installing')")
    for tool in _TOOLS:
        (made.programs / tool).symlink_to(str(shutil.which(tool)))
    return made


REAL = f'exec {sys.executable} "$@"'
WITHOUT_VENV = f'case "$2" in *ensurepip*) exit 1;; esac; {REAL}'


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3"])
def test_a_python_that_suits_is_found_by_its_usual_names(machine: Machine, name: str) -> None:
    machine.has(name, REAL)
    ran = machine.install()
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "installing\n"


def test_an_older_python_beside_one_that_suits_is_no_obstacle(machine: Machine) -> None:
    machine.has("python3.11", "exit 127")  # as a version manager's shim of a version that isn't there
    machine.has("python3", REAL)
    assert machine.install().returncode == 0


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ((), "install Python 3.11, then: make install PYTHON=/path/to/python3.11"),
        (("apt-get",), "sudo apt-get install -y python3.11 python3.11-venv"),
        (("dnf",), "sudo dnf install -y python3.11"),
        (("uv", "apt-get"), 'uv python install 3.11 && make install PYTHON="$(uv python find 3.11)"'),
    ],
)
def test_without_a_python_that_suits_the_one_command_that_mends_it_is_shown(
    machine: Machine, present: tuple[str, ...], expected: str
) -> None:
    machine.has("python3")  # one of another version
    for name in present:
        machine.has(name)
    ran = machine.install()
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == f"  remedy: {expected}"
    assert len(ran.stderr.splitlines()) == 2


def test_a_python_without_venv_is_mended_by_its_own_package(machine: Machine) -> None:
    machine.has("python3", WITHOUT_VENV)
    machine.has("apt-get")
    ran = machine.install()
    assert ran.returncode == 1
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert ran.stderr.splitlines()[-1] == f"  remedy: sudo apt-get install -y python{version}-venv"


def test_a_chosen_python_is_not_replaced_by_another(machine: Machine) -> None:
    machine.has("python3", REAL)
    machine.has("mine")
    ran = machine.install(PYTHON=str(machine.programs / "mine"))
    assert ran.returncode == 1
    assert "mine" in ran.stderr
