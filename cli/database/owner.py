"""Under whom PostgreSQL runs: the user who starts it, or, for root, a system user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError

SYSTEM_USER = "mongars-pg"
SYSTEM_HOME = Path("/var/lib/mongars-pg")
_ADD_TIMEOUT_S = 30
_DROPPED = ("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")


@dataclass(frozen=True)
class Owner:
    """The operating system's user to whom PGDATA belongs; ``switch`` when the caller is root."""

    name: str
    uid: int
    gid: int
    switch: bool

    def give(self, path: Path) -> None:
        """Makes ``path`` the owner's."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def command(self, *arguments: str | Path) -> list[str]:
        """``arguments`` run as the owner, who can gain nothing; an ordinary user runs them as himself."""
        became = ["--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"] if self.switch else []
        return [setpriv(), *became, *(_DROPPED if self.switch else _DROPPED[:1]), *map(str, arguments)]


def setpriv() -> str:
    """util-linux's program that drops privileges and ties a process to its parent. Raises CommandError."""
    found = shutil.which("setpriv", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise CommandError("setpriv is not installed", "install util-linux, for example: apt-get install util-linux")
    return found


def current_owner() -> Owner:
    """Raises CommandError when root has no system user for PostgreSQL yet."""
    if os.geteuid() != 0:
        return Owner(owner_name(os.geteuid()), os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise CommandError(f"the system user {SYSTEM_USER} is missing", "run: mongars up") from None
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def owner_name(uid: int) -> str:
    """Raises CommandError for a user without a name, whom PostgreSQL refuses."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise CommandError(
            f"the user id {uid} has no name on this system, and PostgreSQL needs one", "add it to /etc/passwd"
        ) from None


def system_user_missing() -> bool:
    """Whether a start as root has to add the system user first."""
    if os.geteuid() != 0:
        return False
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return True
    return False


def add_system_user() -> None:
    """Adds the user that runs PostgreSQL and nothing else. Raises CommandError."""
    by_hand = f"useradd --system --home-dir {SYSTEM_HOME} --shell /usr/sbin/nologin {SYSTEM_USER}"
    program = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise CommandError(f"useradd is not there to add the system user {SYSTEM_USER}", f"add it by hand: {by_hand}")
    arguments = [*by_hand.split()[1:-1], "--comment", "monGARS PostgreSQL", SYSTEM_USER]
    ran = subprocess.run(  # noqa: S603 - fixed arguments
        [program, *arguments], capture_output=True, text=True, timeout=_ADD_TIMEOUT_S, check=False
    )
    if ran.returncode != 0 and system_user_missing():
        raise CommandError(f"the system user {SYSTEM_USER} could not be added: {ran.stderr.strip()}", by_hand)
