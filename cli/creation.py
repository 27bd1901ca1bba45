"""Making an installation in an empty folder: all of it, or nothing."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cli import ports
from cli.database import creation as database
from cli.database.binaries import Binaries, copied, from_wheel, traversable
from cli.database.external import Address
from cli.database.inspection import inspect
from cli.database.owner import (
    SYSTEM_HOME,
    SYSTEM_USER,
    Owner,
    add_system_user,
    current_owner,
    owner_name,
    system_user_missing,
)
from cli.errors import CommandError
from cli.installation import Installation, Marker, Ports, write_marker
from cli.lock import LOCK_NAME
from cli.progress import Progress
from cli.version import product_version
from libs.shared.durable import sync_folder, write_private
from libs.shared.layout import FORMAT_VERSION, StateFolder

CREATION_SPACE_MIB = 256
"""PostgreSQL's first files take 70 MiB and its first WAL segments 32; the rest is room to begin with."""
UNFINISHED = ".creating"
"""Lies in the folder from its first moment until its marker does: what is beside it may be thrown away."""
_OURS = (UNFINISHED, LOCK_NAME)


def prepare_folder(folder: StateFolder) -> None:
    """Makes the folder that an installation is to stand in.

    Raises CommandError when it is in other use, can't be written, or its disk is full; then nothing was written.
    """
    root = folder.root
    try:
        made = not root.exists()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_other_use(root)
        try:
            require_space(root, CREATION_SPACE_MIB)
        except CommandError:
            if made:
                root.rmdir()
            raise
    except OSError as error:
        raise _told(error, root) from None


def make(
    folder: StateFolder, progress: Progress, *, http_port: int | None, external: Address | None = None
) -> Installation:
    """Makes an installation in a prepared folder; what an interrupted making left there is thrown away.

    With ``external`` it gets no PostgreSQL of its own.
    Raises CommandError when something fails on the way; then nothing of the installation remains.
    """
    with all_or_nothing(folder):
        return _build(folder, progress, http_port, external)


@contextmanager
def all_or_nothing(folder: StateFolder) -> Iterator[None]:
    """An installation is made in a prepared folder: once its marker is written, or nothing of it remains.

    What an interrupted making left there is thrown away first. Raises CommandError for what the disk refuses.
    """
    _claim(folder.root)
    try:
        yield
        (folder.root / UNFINISHED).unlink()
    except (OSError, CommandError, KeyboardInterrupt) as error:
        _discard(folder.root)
        if isinstance(error, OSError):
            raise _told(error, folder.root) from None
        raise


def database_binaries(owner: Owner) -> Binaries:
    """PostgreSQL's programs where ``owner`` can run them."""
    wheel = from_wheel()
    if not owner.switch or traversable(wheel.folder):
        return wheel
    SYSTEM_HOME.mkdir(exist_ok=True)
    SYSTEM_HOME.chmod(0o755)
    return copied(wheel, SYSTEM_HOME)


def ensure_system_user(progress: Progress) -> None:
    """Root's PostgreSQL needs a user of its own; adding one to the system is announced."""
    if system_user_missing():
        progress.say(f"Adding the system user {SYSTEM_USER}: PostgreSQL refuses to run as root")
        add_system_user()


def require_space(root: Path, wanted_mib: int) -> None:
    """Raises CommandError when the disk of ``root`` has less free."""
    free_mib = shutil.disk_usage(root).free // 2**20
    if free_mib < wanted_mib:
        raise CommandError(
            f"the disk of {root} has {free_mib} MiB free, and {wanted_mib} MiB are needed",
            "make room there, or name a folder on another disk with --state DIR",
        )


def _claim(root: Path) -> None:
    try:
        _refuse_other_use(root)
        for entry in root.iterdir():
            if entry.name not in _OURS:
                _remove(entry)
        (root / UNFINISHED).touch(mode=0o600)
        sync_folder(root)
    except OSError as error:
        raise _told(error, root) from None


def _refuse_other_use(root: Path) -> None:
    names = {entry.name for entry in root.iterdir()}
    if names - {LOCK_NAME} and UNFINISHED not in names:
        raise CommandError(
            f"{root} is not empty, and holds no installation", "empty it, or name another folder with --state DIR"
        )


def _build(folder: StateFolder, progress: Progress, http_port: int | None, external: Address | None) -> Installation:
    if http_port is not None:
        ports.require_free(http_port, "the gateway", "name another with --port N")
    http = http_port or ports.choose(ports.HTTP_PREFERRED)
    nats = ports.choose(ports.NATS_PREFERRED, taken=frozenset({http}))
    if external is None:
        _build_with_database(folder, progress)
    else:
        with progress.step("Looking at the database"):
            inspect(external, new=True, patience_s=0)
        with progress.step("Making keys"):
            _make_keys(folder, external.password)
    marker = Marker(
        format=FORMAT_VERSION,
        installation_id=uuid.uuid4().hex,
        product_version=product_version(),
        created_at=datetime.now(UTC),
        ports=Ports(http=http, nats=nats),
        database=external.url if external else None,
    )
    return write_marker(folder, marker)


def _build_with_database(folder: StateFolder, progress: Progress) -> None:
    password = secrets.token_urlsafe(32)
    with progress.step("Making keys"):
        _make_keys(folder, password)
    make_database(folder, progress, password)


def make_database(folder: StateFolder, progress: Progress, password: str) -> None:
    """A PostgreSQL of the installation's own, not started, with an empty database. Raises CommandError, OSError."""
    ensure_system_user(progress)
    owner = current_owner()
    # PostgreSQL's user passes through the folder to reach its own, and sees nothing else of it
    folder.root.chmod(0o711 if owner.switch else 0o700)
    with progress.step("Making the database"):
        database.create(folder, database_binaries(owner), owner, operator=owner_name(os.geteuid()), password=password)


def make_folders(folder: StateFolder) -> None:
    """Those that every installation has, empty."""
    keys = (folder.keys, folder.keys / "nats")
    for path in (*keys, folder.broker, folder.slots.parent, folder.models, folder.logs, folder.run, folder.backups):
        path.mkdir(mode=0o700)


def _make_keys(folder: StateFolder, database_password: str | None) -> None:
    make_folders(folder)
    write_private(folder.installation_key, secrets.token_bytes(32))
    write_private(folder.token_key, secrets.token_bytes(32))
    if database_password is not None:
        write_private(folder.database_password, database_password.encode())


def _discard(root: Path) -> None:
    """Removes what was made; the folder itself too when it was ours to make."""
    if (root / UNFINISHED).exists():
        for entry in root.iterdir():
            if entry.name not in _OURS:
                _remove(entry)
        for name in (LOCK_NAME, UNFINISHED):
            (root / name).unlink(missing_ok=True)
        with suppress(OSError):  # a mount point stays
            root.rmdir()


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _told(error: OSError, root: Path) -> CommandError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CommandError(f"the disk of {root} is full", "make room there, or name another folder with --state DIR")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CommandError(
            f"{error.filename or root} can't be written ({os.strerror(error.errno)})",
            "name a folder of your own with --state DIR",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return CommandError(f"{root} is not a folder", "name another with --state DIR")
    return CommandError(f"{root}: {error.strerror or error}", "name another folder with --state DIR")
