"""The copy of a stopped state folder beside its upgrade: made whole or not at all, and put back step by step.

``upgrade/`` in the state folder holds, one after the other: ``copying`` (may be thrown away), ``before`` (whole: from
here on the installation may be changed), then ``restoring`` with ``failed`` (it is being put back) or ``done`` (not
needed any more). Every step is a rename, so that whoever comes after a power cut sees how far it went.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cli.errors import CommandError
from cli.lock import LOCK_NAME
from libs.shared.durable import sync_folder
from libs.shared.layout import StateFolder

_FOLDER = "upgrade"
_LEFT_OUT = frozenset(
    {LOCK_NAME, _FOLDER, "backups", "invitations", "joined-nodes.json", "logs", "models", "ray", "run"}
)
"""What an upgrade doesn't change, or what means nothing while nothing runs; and whom the way back must not let in."""
_COPY_TIMEOUT_S = 6 * 3600.0
_PIECE = 1 << 20


class Aside:
    """The copy of one state folder."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._home = folder.root / _FOLDER
        self._copying, self._before, self._restoring, self._failed, self._done = (
            self._home / name for name in ("copying", "before", "restoring", "failed", "done")
        )

    @property
    def whole(self) -> bool:
        """Whether an upgrade was begun and neither finished nor put back."""
        return self._before.exists()

    @property
    def being_restored(self) -> bool:
        return self._restoring.exists()

    @property
    def copied_marker(self) -> Path:
        """The marker as it was before."""
        return self._before / self._folder.marker.name

    def size(self) -> int:
        """Bytes that a copy takes at most."""
        return sum(_size(entry) for entry in self._entries(self._folder.root))

    def make(self) -> None:
        """Copies the stopped state folder. Raises CommandError; then nothing is left of it."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._copying.mkdir(mode=0o700)
        try:
            # where the file system can, the copy shares its blocks; owners and rights stay
            for command in (
                ["cp", "-a", "--reflink=auto", "--", *map(str, self._entries(self._folder.root)), str(self._copying)],
                ["sync", "-f", str(self._copying)],
            ):
                subprocess.run(  # noqa: S603 - fixed programs
                    command, check=True, capture_output=True, text=True, timeout=_COPY_TIMEOUT_S
                )
        except subprocess.CalledProcessError as error:
            self.clear()
            raise CommandError(
                f"the state folder could not be copied: {error.stderr.strip()}", "nothing was changed; mend that first"
            ) from None
        except BaseException:
            self.clear()
            raise
        self._move(self._copying, self._before)

    def restore(self) -> None:
        """Puts everything back as it was copied; goes on where an earlier attempt was cut off."""
        if self._before.exists():
            self._move(self._before, self._restoring)
        self._failed.mkdir(mode=0o700, exist_ok=True)
        entries = sorted(self._restoring.iterdir(), key=lambda entry: entry == self._restoring / self._marker)
        for entry in entries:  # the marker last: with it the folder is an installation again
            self._put_back(entry)
        self._overwrite_keys(self._failed)
        shutil.rmtree(self._failed)
        self._restoring.rmdir()
        self.clear()

    def discard(self) -> None:
        """The upgrade is done. The copy's keys are overwritten: what is forgotten later must not outlive there."""
        if self._before.exists():
            self._move(self._before, self._done)
        self.clear()

    def clear(self) -> None:
        """Removes what isn't needed: an unfinished copy, or one that was discarded."""
        for leftover in (self._copying, self._done):
            if leftover.exists():
                self._overwrite_keys(leftover)
                shutil.rmtree(leftover)
        if self._home.exists() and not any(self._home.iterdir()):
            self._home.rmdir()
            sync_folder(self._folder.root)

    @property
    def _marker(self) -> str:
        return self._folder.marker.name

    def _put_back(self, entry: Path) -> None:
        here, away = self._folder.root / entry.name, self._failed / entry.name
        if entry.is_dir() and here.exists() and not away.exists():
            self._move(here, away)
        self._move(entry, here)

    def _move(self, source: Path, target: Path) -> None:
        source.rename(target)
        for folder in {source.parent, target.parent}:
            sync_folder(folder)

    def _entries(self, root: Path) -> Iterator[Path]:
        yield from (entry for entry in sorted(root.iterdir()) if entry.name not in _LEFT_OUT)

    def _overwrite_keys(self, copy: Path) -> None:
        for kept in (self._folder.slots.parent, self._folder.keys):
            for path in (copy / kept.name).rglob("*"):
                if path.is_file() and not path.is_symlink():
                    _overwrite(path)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(os.urandom(min(left, _PIECE)))
        file.flush()
        os.fsync(file.fileno())


def _size(entry: Path) -> int:
    paths = entry.rglob("*") if entry.is_dir() and not entry.is_symlink() else (entry,)
    return sum(path.lstat().st_blocks * 512 for path in paths)
