"""The README's commands, as a newcomer types them, in the order in which they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.installation import ROOT, Installation

_FENCE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(document: str) -> list[str]:
    """What follows a ``$`` in the fenced blocks of a document."""
    blocks = _FENCE.findall((ROOT / document).read_text())
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_first_conversation_goes_as_the_readme_says(
    make_installation: Callable[..., Installation], tmp_path: Path
) -> None:
    made = make_installation()
    shutil.copy(ROOT / "README.md", tmp_path)
    said: dict[str, str] = {}
    for command in commands("README.md"):
        program, *arguments = shlex.split(command)
        if program == ".venv/bin/mongars":
            said[command] = made.mongars(*arguments, cwd=tmp_path)
    answers = [text for command, text in said.items() if "Where does Odile live?" in command]
    assert "Chicoutimi" in answers[0]
    found = next(text for command, text in said.items() if "memory search" in command)
    assert "hangs in the barn" in found.splitlines()[1]
    assert (tmp_path / "memory.json").stat().st_size > 1000
    assert any("keys create" in command and text.startswith("mgk_") for command, text in said.items())


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        shlex.split(command)[1]
        for document in ("README.md", "CONTRIBUTING.md")
        for command in commands(document)
        if command.startswith("make ")
    }
    assert named
    assert named <= targets
