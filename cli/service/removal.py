"""Everything that an installation put onto this machine: listed, then removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.database.owner import SYSTEM_HOME, SYSTEM_USER
from cli.installation import Installation
from cli.progress import Progress
from cli.service import installing, users
from cli.short_path import forget_short_name
from cli.stop import kill, stop


@dataclass(frozen=True)
class Removal:
    """What there is to remove."""

    installation: Installation
    services: tuple[installing.Plan, ...]
    system_users: tuple[tuple[str, Path | None], ...]
    """Each with a home of its own, where it has one outside the state folder."""

    def listed(self) -> Iterator[str]:
        """For people, before they say yes."""
        folder = self.installation.folder
        yield f"the installation in {folder.root}, with everything that it remembers and its keys"
        for service in self.services:
            yield f"the service {service.path}"
        for name, home in self.system_users:
            yield f"the system user {name}{f' and {home}' if home else ''}, unless something else here needs it"


def found(installation: Installation, *, keep_users: bool, service_user: str) -> Removal:
    """What belongs to an installation."""
    folder = installation.folder
    root = Path("/")
    kinds = (True, False) if os.geteuid() == 0 else (False,)
    plans = (installing.plan(folder, system=system, user=service_user, root=root) for system in kinds)
    services = tuple(plan for plan in plans if installing.serves(plan))
    mine: list[tuple[str, Path | None]] = []
    if os.geteuid() == 0 and not keep_users:
        mine += [(SYSTEM_USER, SYSTEM_HOME)] if users.exists(SYSTEM_USER) else []
        mine += [(service_user, None)] if users.exists(service_user) else []
    return Removal(installation, services, tuple(mine))


def end_services(removal: Removal, progress: Progress) -> None:
    """Before the installation's lock is taken, which what systemd ends takes in order to stop. Raises CommandError."""
    for service in removal.services:
        installing.remove(service, progress)


def remove(removal: Removal, progress: Progress) -> list[str]:
    """Removes the rest; what had to stay, with the reason. Raises CommandError when it can't be stopped."""
    installation = removal.installation
    stop(installation, progress)
    kill(installation)
    with progress.step(f"Removing {installation.folder.root}"):
        forget_short_name(installation.folder.root)
        _remove_folder(installation.folder.root)
    return [kept for name, home in removal.system_users if (kept := _remove_user(name, home, progress))]


def _remove_folder(root: Path) -> None:
    """A mount point stays, empty. The keys go first: without them the rest means nothing."""
    for entry in sorted(root.iterdir(), key=lambda entry: entry.name not in ("keys", "slots")):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if not root.is_mount():
        root.rmdir()


def _remove_user(name: str, home: Path | None, progress: Progress) -> str | None:
    with progress.step(f"Looking whether anything else needs the system user {name}"):
        reason = users.needed_by(name, besides=home or Path("/nonexistent"))
    if reason is not None:
        return f"the system user {name}: {reason}"
    users.remove(name)
    if home is not None:
        shutil.rmtree(home, ignore_errors=True)
    return None
