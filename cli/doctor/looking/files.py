"""Looking at the state folder: what is there, whose it is, who can read it, and whether it can be what it has to be."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from cli import broker
from cli.creation import UNFINISHED
from cli.doctor.facts import FileFact, Files
from cli.doctor.looking.services import Looked
from cli.errors import CommandError
from cli.installation import Marker
from cli.lock import LOCK_NAME
from libs.shared.layout import FORMAT_VERSION, StateFolder

_KEY_BYTES = 32
_BROKER_TIMEOUT_S = 10.0
_PUBLIC = re.compile(r"nkey:\s*\"?(U[A-Z2-7]{55})")


def look(folder: StateFolder, looked: Looked) -> Files:
    """The state folder as it is; ``looked`` is what the services' own inspection said."""
    marker, state = _marker(folder)
    files = Files(root=str(folder.root), marker=state, unfinished=_exists(folder.root / UNFINISHED))
    if marker is not None:
        files = replace(files, marker_version=marker.product_version, external_database=marker.database is not None)
    if state != "ok":
        return files
    return replace(
        files,
        has_run=_exists(folder.broker / "jetstream"),
        closed_to_database=os.geteuid() == 0 and folder.database.parent.exists(),
        files=tuple(_files(folder, files.external_database)),
        unknown_nkeys=tuple(_unknown_nkeys(folder)),
        broker_configuration=_broker_configuration(folder),
        slots=looked.slots,
        keys_open=looked.keys_open,
        logs_bytes=sum(path.stat().st_size for path in folder.logs.glob("*")) if folder.logs.is_dir() else 0,
        lock_held_s=_lock_held_s(folder),
    )


def _marker(folder: StateFolder) -> tuple[Marker | None, str]:
    try:
        marker = Marker.model_validate_json(folder.marker.read_bytes())
        foreign = folder.root.stat().st_uid != os.geteuid()
    except (FileNotFoundError, NotADirectoryError):
        return None, "absent"
    except PermissionError:
        return None, "another's"
    except ValidationError:
        return None, "damaged"
    if marker.format > FORMAT_VERSION:
        return marker, "newer"
    return marker, "another's" if foreign else "ok"


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _files(folder: StateFolder, external: bool) -> Iterator[FileFact]:
    folders = [folder.root, folder.keys, folder.keys / "nats", folder.broker, folder.slots.parent, folder.models]
    for path in (*folders, folder.logs, folder.run):
        yield _fact(folder, path, is_folder=True)
    for path in (folder.installation_key, folder.token_key):
        yield _fact(folder, path, valid=lambda content: len(content) == _KEY_BYTES)
    if not external or _exists(folder.database_password):
        yield _fact(folder, folder.database_password, valid=lambda content: bool(content.strip()))
    for path in _nkeys(folder):
        yield _fact(folder, path, valid=lambda content: _public_key(content) is not None)
    for path in (folder.marker, folder.slots, *_other_keys(folder)):
        yield _fact(folder, path)


def _nkeys(folder: StateFolder) -> list[Path]:
    from libs.shared.bus.broker_config import principals

    needed = {folder.nkey(name) for name in principals()}
    return sorted(needed | set((folder.keys / "nats").glob("*.nk")))


def _other_keys(folder: StateFolder) -> list[Path]:
    """Certificates, and what later versions keep there: as private as the rest."""
    named = {folder.installation_key, folder.token_key, folder.database_password, *_nkeys(folder)}
    return sorted(path for path in folder.keys.rglob("*") if path.is_file() and path not in named)


def _fact(folder: StateFolder, path: Path, *, is_folder: bool = False, valid: object = None) -> FileFact:
    name = str(path.relative_to(folder.root))
    try:
        found = path.stat()
    except OSError:
        return FileFact(name, is_folder, exists=False)
    judged: bool | None = None
    if callable(valid):
        with suppress(OSError):
            judged = bool(valid(path.read_bytes()))
    mode = stat.S_IMODE(found.st_mode)
    return FileFact(name, is_folder, True, mode, found.st_uid, found.st_size, found.st_mtime, judged)


def _public_key(content: bytes) -> str | None:
    from libs.shared.bus.nkey_files import public_key

    try:
        return public_key(content.decode())
    except (ValueError, UnicodeDecodeError):
        return None


def _unknown_nkeys(folder: StateFolder) -> Iterator[str]:
    try:
        known = set(_PUBLIC.findall(broker.configuration(folder).read_text(errors="replace")))
    except OSError:
        return
    if not known:
        return  # a configuration that can't be read is said otherwise
    for path in _nkeys(folder):
        with suppress(OSError):
            key = _public_key(path.read_bytes())
            if key is not None and key not in known:
                yield str(path.relative_to(folder.root))


def _broker_configuration(folder: StateFolder) -> str:
    if not _exists(broker.configuration(folder)):  # written at each start, and gone while nothing runs
        return ""
    try:
        command = [*broker.command(folder), "-t"]
        ran = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=_BROKER_TIMEOUT_S, check=False
        )
    except (CommandError, subprocess.TimeoutExpired, OSError):
        return ""
    return "" if ran.returncode == 0 else "it is not a configuration"


def _lock_held_s(folder: StateFolder) -> float:
    path = folder.root / LOCK_NAME
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            return 0.0
    except BlockingIOError:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0
