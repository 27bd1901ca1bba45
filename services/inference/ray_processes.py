"""Finds and ends what an earlier Ray of this installation left running, and keeps its folder small."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil

OWNER_VARIABLE = "MONGARS_RAY_OWNER"
"""Set in the environment of the process that starts Ray; everything that Ray starts inherits it."""
LONGEST_FOLDER = 40
"""Ray's sockets lie 66 characters below its folder, and a socket's path has 107 at most."""
END_TIMEOUT_S = 5.0
STOPPING_FILE = "stopping"


def end_leftovers(owner: Path, *, spare: frozenset[int] = frozenset()) -> int:
    """Kills every process of ``owner``'s Ray with its descendants, but for ``spare``; returns how many there were."""
    found = [process for process in psutil.process_iter() if process.pid not in spare and _belongs(process, owner)]
    everything = {child.pid: child for process in found for child in _family(process)}
    victims = [process for pid, process in everything.items() if pid not in spare and pid != os.getpid()]
    for process in victims:
        _kill(process)
    psutil.wait_procs(victims, timeout=END_TIMEOUT_S)
    return len(victims)


def say_stopping(folder: Path, stopping: bool) -> None:
    """Tells the replicas of the Ray in ``folder`` that all of it ends, or that it begins anew."""
    if stopping:
        (folder / STOPPING_FILE).touch(mode=0o600)
    else:
        (folder / STOPPING_FILE).unlink(missing_ok=True)


def is_stopping(folder: Path) -> bool:
    """Whether all of that Ray ends, and not one replica alone."""
    return (folder / STOPPING_FILE).exists()


def short_folder(folder: Path) -> Path:
    """``folder``, or a link to it that is short enough for sockets; the link is made in the user's own folder of /tmp.

    Raises OSError when that folder belongs to someone else.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if len(str(folder)) <= LONGEST_FOLDER:
        return folder
    own = Path(tempfile.gettempdir()) / f"mgr-{os.getuid()}"
    own.mkdir(exist_ok=True, mode=0o700)
    status = own.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or own.is_symlink():
        raise PermissionError(f"{own} is not this user's own folder")
    link = own / hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    if not link.is_symlink() or link.readlink() != folder:
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    return link


def remove_sessions(folder: Path) -> None:
    """Logs and sockets of earlier starts: Ray makes a folder each time and never removes one."""
    for session in folder.glob("session_*"):
        if session.is_symlink():
            session.unlink(missing_ok=True)
        else:
            shutil.rmtree(session, ignore_errors=True)


def _belongs(process: psutil.Process, owner: Path) -> bool:
    try:
        return process.environ().get(OWNER_VARIABLE) == str(owner)
    except (psutil.Error, OSError):
        return False


def _family(process: psutil.Process) -> list[psutil.Process]:
    """Ray's workers overwrite their environment with their title, so they are found as children."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        return
