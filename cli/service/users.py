"""Users of the system that an installation brings along: announced when added, removed when nobody needs them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from cli.errors import CommandError

SERVICE_USER = "mongars"
_TIMEOUT_S = 60
_SEARCH_TIMEOUT_S = 1800
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def exists(name: str) -> bool:
    """Whether the system knows a user of that name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def add(name: str, home: Path) -> None:
    """Adds a system user who can't log in. Raises CommandError."""
    options = ("--system", "--user-group", "--no-create-home", "--home-dir", str(home), "--shell", "/usr/sbin/nologin")
    _run("useradd", *options, "--comment", "monGARS", name)


def remove(name: str) -> None:
    """Raises CommandError."""
    _run("userdel", name)


def needed_by(name: str, *, besides: Path, search: Callable[[int, Path], str | None] | None = None) -> str | None:
    """Why a user has to stay: a process, or a file outside ``besides``; None when nobody needs it."""
    uid = pwd.getpwnam(name).pw_uid
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _owner(entry) == uid:
            return f"process {entry.name} runs as {name}"
    found = (search or _file_of)(uid, besides)
    return f"{found} belongs to {name}" if found else None


def _owner(entry: Path) -> int | None:
    try:
        return entry.stat().st_uid
    except OSError:  # it ended meanwhile
        return None


def _file_of(uid: int, besides: Path) -> str | None:
    """The first file of that user anywhere on this machine."""
    pruned = ("-path", "/proc", "-o", "-path", "/sys", "-o", "-path", str(besides))
    command = ["find", "/", "(", *pruned, ")", "-prune", "-o", "-uid", str(uid), "-print", "-quit"]
    ran = subprocess.run(  # noqa: S603 - the system's own program
        command, capture_output=True, text=True, timeout=_SEARCH_TIMEOUT_S, check=False
    )
    return ran.stdout.strip() or None


def give(folder: Path, name: str) -> None:
    """Makes everything in ``folder`` the user's, without following links out of it."""
    entry = pwd.getpwnam(name)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    for path in folder.rglob("*"):
        os.lchown(path, entry.pw_uid, entry.pw_gid)


def _run(program: str, *arguments: str) -> None:
    found = shutil.which(program, path=_PATH)
    by_hand = f"{program} {' '.join(arguments)}"
    if found is None:
        raise CommandError(f"{program} is not installed", f"by hand: {by_hand}")
    ran = subprocess.run(  # noqa: S603 - the system's own program
        [found, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if ran.returncode != 0:
        raise CommandError(f"{program}: {ran.stderr.strip()}", f"by hand: {by_hand}")
