"""A short name for a state folder whose own path is too long for the Unix sockets in it."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from cli.errors import CommandError

_SOCKET_PATH_BYTES = 107
_SHORT = Path("/tmp")  # noqa: S108 - TMPDIR may be long; the link's owner and target are checked
_LONGEST_INSIDE = len("/database/run/.s.PGSQL.5432") + 8
"""supervisord binds its socket under a temporary name with a process id, which is shorter than this."""


def fits(root: Path) -> bool:
    """Whether every socket below ``root`` has a path that the kernel accepts."""
    return len(os.fsencode(root)) + _LONGEST_INSIDE <= _SOCKET_PATH_BYTES


def reachable_root(root: Path) -> Path:
    """``root`` itself, or a link to it in the temporary folder, made when it is missing.

    The link's name follows from the path, so that every command finds the same one. Raises CommandError when
    something of another user stands in its place.
    """
    if fits(root):
        return root
    link = _short_name(root)
    with suppress(FileExistsError):
        link.symlink_to(root, target_is_directory=True)
    if link.lstat().st_uid != os.getuid() or not link.is_symlink() or link.readlink() != root:
        raise CommandError(
            f"{link} is in the way of the short name that {root} needs",
            f"remove {link}, or use a state folder with a path of at most {_SOCKET_PATH_BYTES - _LONGEST_INSIDE} bytes",
        )
    return link


def forget_short_name(root: Path) -> None:
    """Removes the link, if it is ours and leads there."""
    link = _short_name(root)
    with suppress(OSError):
        if link.readlink() == root:
            link.unlink()


def _short_name(root: Path) -> Path:
    return _SHORT / f"mongars-{os.getuid()}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"
