"""Which version wrote a state folder, and what that means for the one that is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_NUMBER = re.compile(r"\d+")
_REVISION = re.compile(r"^revision = \"([^\"]+)\"", re.MULTILINE)
_BEFORE = re.compile(r"^down_revision = \"([^\"]+)\"", re.MULTILINE)


class Age(StrEnum):
    """Of a state folder, as seen from the code that is to start it."""

    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True)
class Code:
    """What is installed: its version, its database revisions (the last is today's), the commit where that is known."""

    version: str
    revisions: tuple[str, ...]
    commit: str | None = None

    @property
    def revision(self) -> str:
        return self.revisions[-1]


@dataclass(frozen=True)
class Written:
    """What wrote a state folder last. ``revision`` None: version 0.1, or an installation that was never ready."""

    version: str
    revision: str | None
    commit: str | None = None


def judge(written: Written, code: Code) -> tuple[Age, str]:
    """The age, with its reason."""
    theirs, ours = numbers(written.version), numbers(code.version)
    if theirs > ours:
        return Age.NEWER, f"it was written by version {written.version}, and this is {code.version}"
    if written.revision is not None and written.revision not in code.revisions:
        return Age.NEWER, f"its database is at revision {written.revision}, which this version doesn't know"
    if theirs < ours:
        return Age.OLDER, f"it was written by version {written.version}, and this is {code.version}"
    if written.revision not in (None, code.revision):
        return Age.OLDER, f"its database is at revision {written.revision}, and this version's is at {code.revision}"
    return Age.CURRENT, ""


def numbers(version: str) -> tuple[int, ...]:
    """``0.2.1`` as numbers; what follows them (``rc1``, ``+local``) doesn't count."""
    found = []
    for part in version.split("."):
        matched = _NUMBER.match(part)
        if matched is None:
            break
        found.append(int(matched[0]))
        if matched[0] != part:
            break
    while found and found[-1] == 0:
        found.pop()
    return tuple(found)


def chain(texts: Iterable[str]) -> tuple[str, ...]:
    """The database's revisions in their order, from the texts of the migrations. Raises ValueError when they fork."""
    after: dict[str | None, str] = {}
    for text in texts:
        revision, before = _REVISION.search(text), _BEFORE.search(text)
        if revision is None:
            continue
        if (key := before[1] if before else None) in after:
            raise ValueError(f"two migrations follow {key}")
        after[key] = revision[1]
    found: list[str] = []
    step: str | None = None
    while step in after:
        step = after[step]
        found.append(step)
    return tuple(found)


def revisions_of(code_root: Path) -> tuple[str, ...]:
    """The revisions that the code in ``code_root`` knows."""
    return chain(path.read_text() for path in sorted((code_root / "migrations" / "versions").glob("*.py")))


def commit_of(code_root: Path) -> str | None:
    """The commit that is checked out there; None where it isn't a git checkout."""
    git = code_root / ".git"
    try:
        if git.is_file():  # a worktree's
            git = Path(git.read_text().partition(":")[2].strip())
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        return _resolved(git, head.removeprefix("ref: "))
    except OSError:
        return None


def _resolved(git: Path, reference: str) -> str | None:
    common = git / "commondir"
    homes = (git, (git / common.read_text().strip()) if common.exists() else git)
    for home in homes:
        if (home / reference).is_file():
            return (home / reference).read_text().strip()
        packed = home / "packed-refs"
        for row in packed.read_text().splitlines() if packed.exists() else ():
            if row.endswith(" " + reference):
                return row.partition(" ")[0]
    return None
