"""Installing an installation as a service, and taking the service away again."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cli.database.binaries import traversable
from cli.database.owner import setpriv
from cli.errors import CommandError, Exit
from cli.progress import Progress
from cli.service import systemd, users
from cli.service.unit import Service, render
from cli.supervision.place import code_root
from libs.shared.layout import StateFolder

UNIT = "mongars.service"
_FIRST_START_S = 900


@dataclass(frozen=True)
class Plan:
    """Where the unit goes, what it says. ``root`` is ``/``, or a folder that stands for it."""

    service: Service
    root: Path

    @property
    def path(self) -> Path:
        if self.service.user:
            return self.root / "etc/systemd/system" / UNIT
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
        return self.root / home.relative_to("/") / ".config/systemd/user" / UNIT

    @property
    def wanted(self) -> Path:
        """The link by which it starts with the machine."""
        target = "multi-user.target.wants" if self.service.user else "default.target.wants"
        return self.path.parent / target / UNIT

    @property
    def real(self) -> bool:
        return self.root == Path("/")

    def text(self) -> str:
        """Raises CommandError for a path that a unit can't name."""
        try:
            return render(self.service)
        except ValueError as error:
            raise CommandError(str(error), "move it to a path without blanks and quotes", code=Exit.REFUSED) from None


def plan(folder: StateFolder, *, system: bool, user: str, root: Path) -> Plan:
    """Raises CommandError where this user can't have it so."""
    if system and os.geteuid() != 0:
        raise CommandError("a service of the system takes root", "run it with sudo, or with --user", code=Exit.REFUSED)
    python = Path(sys.executable)
    return Plan(Service(folder.root, python, code_root(), user if system else None), root)


def install(wanted: Plan, progress: Progress) -> bool:
    """Writes the unit, and lets systemd enable and start it; False where systemd doesn't run. Raises CommandError."""
    text = wanted.text()
    user = wanted.service.user
    if user and wanted.real:
        _prepare(wanted, user, progress)
    if wanted.real and (user or systemd.runs()):
        _first_start(wanted, user, aside=progress.quiet)
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    wanted.path.write_text(text)
    wanted.path.chmod(0o644)
    if not wanted.real:
        wanted.wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.wanted.unlink(missing_ok=True)
        wanted.wanted.symlink_to(Path("..") / UNIT)
        return False
    if not systemd.runs():
        return False
    systemd.control("daemon-reload", user=user is None)
    with progress.step("Starting the service"):
        systemd.control("enable", "--now", UNIT, user=user is None)
    return True


def remove(wanted: Plan, progress: Progress) -> bool:
    """Stops and removes the service; the installation stays. False when there was none."""
    if not wanted.path.exists():
        return False
    if wanted.real and systemd.runs():
        with progress.step("Stopping the service"):
            systemd.control("disable", "--now", UNIT, user=wanted.service.user is None)
    wanted.wanted.unlink(missing_ok=True)
    wanted.path.unlink()
    if wanted.real and systemd.runs():
        systemd.control("daemon-reload", user=wanted.service.user is None)
    return True


def serves(wanted: Plan) -> bool:
    """Whether the unit that is there starts this state folder."""
    try:
        return f" --state {wanted.service.state}\n" in wanted.path.read_text()
    except FileNotFoundError:
        return False


def _prepare(wanted: Plan, user: str, progress: Progress) -> None:
    """The user, and their folder."""
    interpreter = Path(sys.executable).resolve().parent  # what the virtual environment's own leads to
    for path in (wanted.service.code, Path(sys.prefix), interpreter, wanted.service.state.parent):
        if path.exists() and not traversable(path):
            raise CommandError(
                f"the user {user} can't reach {path}",
                "move it, for example to /opt/mongars; a Python of root's own: make install PYTHON=/usr/bin/python3",
                code=Exit.REFUSED,
            )
    if not users.exists(user):
        progress.say(f"Adding the system user {user}: the installation runs as nobody else")
        users.add(user, wanted.service.state)
    wanted.service.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    _admit_to_database(StateFolder(wanted.service.state), user)
    users.give(wanted.service.state, user)


def _first_start(wanted: Plan, user: str | None, *, aside: bool) -> None:
    """So that the password and the recovery key are shown here and not in a journal; ``aside``: on standard error."""
    state = wanted.service.state
    if StateFolder(state).marker.exists():
        return
    for command in (("up", "--detach"), ("down",)):
        words = (sys.executable, "-m", "cli", *command, "--state", str(state))
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(state), "LANG": "C.UTF-8"}
        ran = subprocess.run(  # noqa: S603 - our own program, which says itself what went wrong
            as_user(user, *words) if user else words,
            cwd=wanted.service.code,
            env=clean if user else None,
            stdout=sys.stderr if aside else None,
            check=False,
            timeout=_FIRST_START_S,
        )
        if ran.returncode != 0:
            raise CommandError("the first start failed, so no service was made", "mend it, and install it again")


def as_user(user: str, *command: str) -> list[str]:
    """``command`` run by another user, who gains nothing."""
    entry = pwd.getpwnam(user)
    who = ("--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--clear-groups", "--inh-caps=-all")
    return [setpriv(), *who, "--no-new-privs", *command]


def _admit_to_database(folder: StateFolder, user: str) -> None:
    """PostgreSQL knows its superuser by the system's name, which is another now."""
    identities = folder.database / "pg_ident.conf"
    if identities.exists() and (row := f"owner {user} postgres\n") not in identities.read_text():
        with identities.open("a") as file:
            file.write(row)
