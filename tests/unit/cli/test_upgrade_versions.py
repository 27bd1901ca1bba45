"""Which version wrote a state folder, and what that means for this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.supervision.place import code_root
from cli.upgrade.versions import Age, Code, Written, chain, commit_of, judge, numbers, revisions_of
from services.persistence.tables import SCHEMA_REVISION

CODE = Code("0.3.0", ("0001", "0002", "0003"))


@pytest.mark.parametrize(
    ("written", "age"),
    [
        (Written("0.3.0", "0003"), Age.CURRENT),
        (Written("0.3.0", None), Age.CURRENT),  # made, and never ready
        (Written("0.3", "0003"), Age.CURRENT),
        (Written("0.1.0", None), Age.OLDER),
        (Written("0.2.9", "0003"), Age.OLDER),
        (Written("0.3.0", "0002"), Age.OLDER),  # between two releases
        (Written("0.10.0", "0003"), Age.NEWER),
        (Written("0.3.0", "0004"), Age.NEWER),
        (Written("0.2.0", "0009"), Age.NEWER),  # an older number of another branch, whose tables we don't know
    ],
)
def test_the_age_of_a_state_folder(written: Written, age: Age) -> None:
    found, reason = judge(written, CODE)
    assert found is age
    assert bool(reason) is (age is not Age.CURRENT)


@pytest.mark.parametrize(
    ("text", "expected"), [("0.2.0", (0, 2)), ("1.10.3", (1, 10, 3)), ("0.2rc1", (0, 2)), ("0.2.0+local", (0, 2))]
)
def test_versions_are_compared_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert numbers(text) == expected


def test_the_chain_follows_the_migrations_and_not_their_names() -> None:
    first = 'revision = "0001"\ndown_revision = None\n'
    second = 'revision = "zebra"\ndown_revision = "0001"\n'
    third = 'revision = "ant"\ndown_revision = "zebra"\n'
    assert chain([third, first, second]) == ("0001", "zebra", "ant")
    with pytest.raises(ValueError, match="two migrations"):
        chain([first, second, second])


def test_todays_code_knows_the_revision_that_persistence_serves() -> None:
    assert revisions_of(code_root())[-1] == SCHEMA_REVISION


def test_the_commit_is_found_in_a_branch_a_packed_reference_and_a_detached_head(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    assert commit_of(tmp_path / "elsewhere") is None
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text("# pack-refs\nabc1 refs/heads/main\n")
    assert commit_of(tmp_path) == "abc1"
    (git / "refs" / "heads" / "main").write_text("abc2\n")
    assert commit_of(tmp_path) == "abc2"
    (git / "HEAD").write_text("abc3\n")
    assert commit_of(tmp_path) == "abc3"
