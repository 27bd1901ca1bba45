"""What a process that begins doesn't do while it imports."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import importlib.metadata
asked = []
importlib.metadata.entry_points = lambda **group: asked.append(group) or []
{begin}
import libs.shared.contracts
print(len(asked))
"""


@pytest.mark.parametrize(
    ("begin", "asked"), [("from services.trainer.__main__ import run", 0), ("import cli.main", 0), ("", 1)]
)
def test_nothing_that_is_installed_is_searched_for_plugins(begin: str, asked: int) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYDANTIC_")}
    command = [sys.executable, "-c", PROGRAM.format(begin=begin)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert int(said.stdout) == asked
