"""A file on its way: ``NAME.part``, what is known of it beside, and the hash of what is there already."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.errors import CommandError
from cli.models.checksums import PIECE, Kind, hasher
from libs.shared.durable import write_private

SUFFIX = ".part"
_KNOWN = ".json"


class Identity(BaseModel):
    """Of what the part is a part: it is gone on with only for the very same."""

    model_config = ConfigDict(frozen=True)

    url: str
    checksum: str | None = None
    size: int | None = None


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True)

    identity: Identity
    etag: str | None = None


class Part:
    """Open for writing at its end. ``etag`` is the strong validator that the server gave for it."""

    def __init__(self, path: Path, file: BinaryIO, identity: Identity, kind: Kind) -> None:
        self.path = path
        self._file = file
        self._identity = identity
        self._kind = kind
        self.etag: str | None = None
        self.length = 0
        self._hash: Any = None
        self._begin()

    def _begin(self) -> None:
        self._hash = hasher(self._kind, self._identity.size or 0)
        self.length = 0

    def take_up(self) -> None:
        """Goes on with what an earlier try left, when it was of the same file; else starts anew."""
        known = _read(known_path(self.path))
        if known is None or known.identity != self._identity:
            self.restart()
            return
        self.etag = known.etag
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            self._hash.update(piece)
            self.length += len(piece)

    def restart(self) -> None:
        """Throws away what is there."""
        self._file.seek(0)
        self._file.truncate()
        self.etag = None
        self._begin()

    def knows(self, etag: str | None) -> None:
        """Keeps the validator for a later try, before the first byte is written."""
        self.etag = etag
        known = _Known(identity=self._identity, etag=etag)
        write_private(known_path(self.path), known.model_dump_json().encode())

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.length += len(piece)

    def flush(self) -> None:
        """To the disk, for good."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def digest(self) -> str:
        """Of all that is there, in lower-case hexadecimal."""
        return str(self._hash.hexdigest())


@contextmanager
def opened(path: Path, identity: Identity, kind: Kind) -> Iterator[Part]:
    """The part, for this process alone. Raises CommandError when another works on it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{path.name} is being written by another command", "wait for its end") from None
        part = Part(path, file, identity, kind)
        try:
            yield part
        finally:
            file.flush()


def discard(path: Path) -> None:
    """The part and what is known of it."""
    path.unlink(missing_ok=True)
    known_path(path).unlink(missing_ok=True)


def length(path: Path, identity: Identity) -> int:
    """Bytes of the very same file that an earlier try left; 0 when it left none, or another's."""
    known = _read(known_path(path))
    try:
        return path.stat().st_size if known is not None and known.identity == identity else 0
    except OSError:
        return 0


def known_path(path: Path) -> Path:
    """Where it stands of what file a part is."""
    return path.with_name(path.name + _KNOWN)


def _read(path: Path) -> _Known | None:
    try:
        return _Known.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
