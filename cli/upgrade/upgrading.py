"""An upgrade from the copy to readiness, and the way back when something on it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.creation import database_binaries, ensure_system_user, require_space
from cli.database import majors
from cli.database.launcher import end_leftovers, working_in
from cli.database.owner import current_owner
from cli.errors import CommandError, Exit
from cli.installation import Installation, Marker, load, write_marker
from cli.probes import readiness
from cli.progress import Progress
from cli.stop import kill
from cli.supervision.place import code_root, supervisor_of
from cli.upgrade.aside import Aside
from cli.upgrade.versions import Age, Code, Written, commit_of, judge, revisions_of
from cli.version import product_version
from libs.shared.durable import write_private
from libs.shared.layout import StateFolder

if TYPE_CHECKING:
    from cli.start import Started

Start: TypeAlias = "Callable[[Installation], Started]"
"""Starts an installation and returns when it is ready; raises CommandError."""
_DATABASE_PATIENCE_S = 30.0
_CHECK_EVERY_S = 0.05
_MIB = 1024 * 1024
_ROOM_MIB = 64


class Failed(BaseModel):
    """``upgrade-failed.json``: so that nothing tries the same again and again by itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str
    revision: str
    commit: str | None
    problem: str


def installed_code() -> Code:
    """What this command belongs to. Raises CommandError when it was never installed."""
    root = code_root()
    return Code(product_version(), revisions_of(root), commit_of(root))


def written_by(installation: Installation) -> Written:
    """What started the installation last."""
    return _written(installation.marker)


def _written(marker: Marker) -> Written:
    return Written(marker.product_version, marker.database_revision, marker.commit)


def settle(installation: Installation, progress: Progress) -> Installation:
    """Ends what an upgrade that was cut off left: finished where it had become ready, put back otherwise.

    The caller holds the lock: nobody else starts or stops it now.
    """
    aside = Aside(installation.folder)
    if aside.whole and _became_ready(installation, aside):
        installation = remember(installation)
        aside.discard()
    elif aside.whole or aside.being_restored:
        progress.say("An upgrade was cut off: putting everything back as it was before it")
        _end_everything(installation)
        aside.restore()
        return load(installation.folder.root)
    aside.clear()
    return installation


def start_safely(installation: Installation, progress: Progress, start: Start) -> Started:
    """Starts it, or finds it running; an older one is upgraded, once. Raises CommandError."""
    installation = settle(installation, progress)
    age = age_of(installation)
    if supervisor_of(installation).processes() is not None:
        if age is Age.OLDER:
            progress.say(f"Version {installation.marker.product_version} is running; to upgrade it: mongars upgrade")
        return start(installation)
    if age is Age.OLDER or other_major(installation, progress):
        refuse_repetition(installation)
        refuse_foreign_database(installation)
        return upgrade(installation, progress, start)
    started = start(installation)
    return replace(started, installation=remember(started.installation))


def other_major(installation: Installation, progress: Progress) -> bool:
    """Whether its own database was written by another PostgreSQL than is installed. Raises CommandError."""
    if installation.marker.database is not None:
        return False
    ensure_system_user(progress)
    programs = majors.major_of_programs(database_binaries(current_owner()))
    return majors.major_of_data(installation.folder.database) != programs


def age_of(installation: Installation) -> Age:
    """Raises CommandError for an installation of a newer version."""
    age, reason = judge(written_by(installation), installed_code())
    if age is Age.NEWER:
        raise CommandError(
            f"the installation in {installation.folder.root} is newer than this monGARS: {reason}",
            f"install that version again ({_way_back(written_by(installation))}), or choose another folder with "
            "--state DIR",
            code=Exit.REFUSED,
        )
    return age


def refuse_repetition(installation: Installation) -> None:
    """A start by itself doesn't try an upgrade twice that failed. Raises CommandError."""
    failed, code = last_failure(installation.folder), installed_code()
    if failed is not None and (failed.version, failed.revision, failed.commit) == (
        code.version,
        code.revision,
        code.commit,
    ):
        raise CommandError(
            f"the upgrade to version {code.version} failed before, and was undone: {failed.problem}",
            f"mend that and run: mongars upgrade; or go back: {_way_back(written_by(installation))}",
        )


def refuse_foreign_database(installation: Installation) -> None:
    """Files can be put back, another's database can't. Raises CommandError."""
    if installation.marker.database is not None:
        raise CommandError(
            f"this installation is of version {installation.marker.product_version}, and keeps its data in "
            f"{installation.marker.database}, which can't be put back from here when an upgrade fails",
            "back that database up there, then run: mongars upgrade --database-is-backed-up",
            code=Exit.REFUSED,
        )


def upgrade(
    installation: Installation,
    progress: Progress,
    start: Start,
    *,
    old_binaries: Path | None = None,
) -> Started:
    """Copies the stopped installation, starts it with ``start``, which waits for readiness, and remembers the version.

    Raises CommandError when that fails; then everything is as it was before, and stopped.
    """
    code, written = installed_code(), written_by(installation)
    change = majors.change(installation, old_binaries)
    aside = Aside(installation.folder)
    require_space(installation.folder.root, aside.size() // _MIB + _ROOM_MIB)
    _end_everything(installation)
    progress.say(f"Upgrading from version {written.version} to {code.version}")
    with progress.step(f"Copying the installation ({aside.size() // _MIB} MiB)"):
        aside.make()
    try:
        if change is not None:
            majors.carry(installation, change, progress)
        started = start(load(installation.folder.root))
        started = replace(started, installation=remember(started.installation))
    except BaseException as error:
        with progress.step(f"Going back to version {written.version}"):
            _end_everything(installation)
            aside.restore()
        if isinstance(error, CommandError):
            raise _undone(installation.folder, error, code, written) from None
        raise
    aside.discard()
    _failure_file(installation.folder).unlink(missing_ok=True)
    return started


def remember(installation: Installation) -> Installation:
    """Notes what runs it now, once it is ready."""
    code, marker = installed_code(), installation.marker
    if (marker.product_version, marker.database_revision, marker.commit) == (code.version, code.revision, code.commit):
        return installation
    return write_marker(
        installation.folder,
        marker.model_copy(
            update={"product_version": code.version, "database_revision": code.revision, "commit": code.commit}
        ),
    )


def last_failure(folder: StateFolder) -> Failed | None:
    """None when the last upgrade succeeded, or there was none."""
    try:
        return Failed.model_validate_json(_failure_file(folder).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _became_ready(installation: Installation, aside: Aside) -> bool:
    """Remembered as such, or still running and ready: then it may have taken turns, which going back would lose."""
    if _written(Marker.model_validate_json(aside.copied_marker.read_bytes())) != written_by(installation):
        return True
    if supervisor_of(installation).processes() is None:
        return False
    said = readiness(installation.marker.ports.http)
    return said is not None and said.ready


def _end_everything(installation: Installation) -> None:
    """Nothing of it may run while its files are copied or put back; a database that lost its supervisor ends itself."""
    kill(installation)
    data = installation.folder.database
    deadline = time.monotonic() + _DATABASE_PATIENCE_S
    with suppress(FileNotFoundError):  # another's database, or a data folder that is being put back
        while any(True for _ in working_in(data)) and time.monotonic() < deadline:
            time.sleep(_CHECK_EVERY_S)
        end_leftovers(data)


def _undone(folder: StateFolder, error: CommandError, code: Code, written: Written) -> CommandError:
    headline = error.problem.splitlines()[0].rstrip(":; ")
    failed = Failed(version=code.version, revision=code.revision, commit=code.commit, problem=headline)
    write_private(_failure_file(folder), json.dumps(failed.model_dump(), indent=2).encode() + b"\n")
    return CommandError(
        f"the upgrade to version {code.version} failed, and everything is as it was before it: {error.problem}",
        f"to run version {written.version} again: {_way_back(written)}, then mongars up; "
        f"to try the upgrade again when it is mended: mongars upgrade",
    )


def _way_back(written: Written) -> str:
    return f"git checkout {written.commit or 'v' + written.version} && make install"


def _failure_file(folder: StateFolder) -> Path:
    return folder.root / "upgrade-failed.json"
