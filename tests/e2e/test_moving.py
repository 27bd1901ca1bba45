"""A stopped installation is a folder: it can stand elsewhere the next time, and nothing in it says where it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.e2e.person import Person
from tests.support.installation import Installation

_HISTORY = ("logs",)
"""What a part printed then is true of then."""
_FACT = "The spare key hangs behind the barn's blue door."


def kept_files(state: Path) -> Iterator[Path]:
    for path in state.rglob("*"):
        if path.is_file() and path.relative_to(state).parts[0] not in _HISTORY:
            yield path


def test_a_stopped_installation_runs_in_another_place_with_all_that_it_knew(
    make_installation: Callable[..., Installation], meet: Callable[..., Person], tmp_path: Path
) -> None:
    before = make_installation("before")
    before.up()
    key = before.key("ada")
    meet(before, key=key).say(_FACT)
    before.down()
    assert not list((before.state / "run").iterdir())
    naming = [path for path in kept_files(before.state) if os.fsencode(before.state) in path.read_bytes()]
    assert naming == [], "these name the folder that they lie in"
    deep = Path("d" * 60) / ("e" * 60) / "after"  # deeper than a Unix socket's path may be
    after = make_installation(str(deep))
    after.state.parent.mkdir(parents=True)
    before.state.rename(after.state)
    said = after.up()
    assert said["state"] == str(after.state)
    assert "admin" not in said
    person = meet(after, key=key)
    assert after.wait_until(lambda: _FACT in person.say("Where does the spare key hang?").text, 60), "not recalled"
    after.down()
    assert not before.state.exists()
