"""A temporary file for what is too large for memory, sealed under a key that only this process ever has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from nacl.secret import SecretBox
from nacl.utils import random

from libs.shared.contracts.base import KIB
from libs.shared.errors import StorageFull

_PIECE = 64 * KIB
_SEALED = _PIECE + SecretBox.NONCE_SIZE + SecretBox.MACBYTES


class SealedSpool:
    """Written from its beginning to its end, then read anywhere. The file has no name: it goes with the process, and
    the key with it, so that what stays on the disk means nothing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._box = SecretBox(random(SecretBox.KEY_SIZE))
        self._tail = bytearray()
        self._pieces = 0
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Raises StorageFull."""
        self._tail += data
        self.size += len(data)
        while len(self._tail) >= _PIECE:
            self._seal(bytes(self._tail[:_PIECE]))
            del self._tail[:_PIECE]

    def _seal(self, piece: bytes) -> None:
        try:
            self._file.write(self._box.encrypt(piece))
            self._file.flush()
        except OSError as error:
            raise StorageFull("There is no room on the disk for this upload.") from error
        self._pieces += 1

    def piece(self, index: int) -> bytes:
        """``_PIECE`` bytes, fewer at the end, none after it."""
        if index >= self._pieces:
            return bytes(self._tail) if index == self._pieces else b""
        return self._box.decrypt(os.pread(self._file.fileno(), _SEALED, index * _SEALED))

    def lines(self) -> Iterator[bytes]:
        """Lines as they were written, without their ends."""
        rest = b""
        for index in range(self._pieces + 1):
            *whole, rest = (rest + self.piece(index)).split(b"\n")
            yield from whole
        if rest:
            yield rest


class SpoolReader:
    """A spool as the file that ``zipfile`` expects. ``most_at_once`` bounds a single read."""

    def __init__(self, spool: SealedSpool, most_at_once: int) -> None:
        self._spool = spool
        self._most = most_at_once
        self._at = 0
        self._cached: tuple[int, bytes] = (-1, b"")

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Raises ValueError before the beginning."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._spool.size}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Raises ValueError for more than may be read at once."""
        left = max(0, self._spool.size - self._at)
        left = left if size < 0 else min(size, left)
        if left > self._most:
            raise ValueError("more than may be read at once")
        found = bytearray()
        while left > 0:
            index, offset = divmod(self._at, _PIECE)
            part = self._piece(index)[offset : offset + left]
            if not part:
                break
            found += part
            self._at += len(part)
            left -= len(part)
        return bytes(found)

    def _piece(self, index: int) -> bytes:
        if self._cached[0] != index:
            self._cached = (index, self._spool.piece(index))
        return self._cached[1]
