"""The file of a backup: messages in a libsodium secretstream, so that one changed, missing, moved or added byte shows.

Layout: a line that names the format; the header (length, JSON, MAC), readable without the key; the stream's own header;
frames (length, ciphertext), the last with the final tag; SHA-256 of everything before. The hash shows decay without the
recovery key; alterations by somebody who means it are shown by the stream alone, with the key.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from typing import Any, BinaryIO

from nacl import bindings
from nacl.exceptions import CryptoError

from cli.backups.recovery_key import RecoveryKey, Seal
from cli.errors import CommandError, Exit

FORMAT = 1
MESSAGE_BYTES = 256 * 1024
"""The most in one message."""
_MAGIC = b"monGARS backup\n"
_LENGTH = struct.Struct("<I")
_MAC_BYTES = 32
_HASH_BYTES = 32
_MOST_HEADER_BYTES = 64 * 1024
_OVERHEAD = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_STREAM_HEADER_BYTES = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_MORE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


class Writer:
    """Writes one backup from beginning to end. ``header`` is readable by anybody."""

    def __init__(self, file: BinaryIO, seal: Seal, header: dict[str, Any]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        key = bindings.crypto_secretstream_xchacha20poly1305_keygen()
        told = {**header, "format": FORMAT, "recovery_key": seal.name, "file_key": seal.close(key).hex()}
        encoded = json.dumps(told, sort_keys=True).encode()
        begun = bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key)
        self._bound: bytes | None = blake2b(encoded, digest_size=32).digest()
        self._write(_MAGIC + _LENGTH.pack(len(encoded)) + encoded + _mac(seal, encoded) + begun)

    def message(self, content: bytes, *, last: bool = False) -> None:
        """At most ``MESSAGE_BYTES``."""
        tag = _FINAL if last else _MORE
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(self._state, content, self._bound, tag)
        self._bound = None
        self._write(_LENGTH.pack(len(sealed)) + sealed)
        if last:
            self._file.write(self._hash.digest())

    def _write(self, content: bytes) -> None:
        self._hash.update(content)
        self._file.write(content)


class Reader:
    """Reads one backup. Everything raises CommandError that says what doesn't fit."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        if self._read(len(_MAGIC)) != _MAGIC:
            raise CommandError("this is no backup of monGARS", "name a file that mongars backup wrote", code=Exit.USAGE)
        self._encoded = self._read(self._length(_MOST_HEADER_BYTES))
        self._mac = self._read(_MAC_BYTES)
        self._begun = self._read(_STREAM_HEADER_BYTES)
        self.header = self._told()

    def messages(self, key: RecoveryKey) -> Iterator[bytes]:
        """The messages in order, each only once it was found whole, and the end."""
        state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, self._begun, self._file_key(key))
        bound: bytes | None = blake2b(self._encoded, digest_size=32).digest()
        for sealed in self._frames():
            try:
                content, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(state, sealed, bound)
            except (CryptoError, RuntimeError, ValueError):
                raise damaged("a part of it was altered") from None
            bound = None
            if tag == _FINAL:
                self._check_end()
                yield content
                return
            yield content
        raise damaged("its end is missing")

    def check_structure(self) -> int:
        """Without the key: that the frames and the hash fit; how many bytes. An alteration by somebody who made the
        hash anew isn't seen."""
        size = 0
        rest = _Rest(self._file)
        for content in rest.before_hash():
            self._hash.update(content)
            size += len(content)
        if rest.hash != self._hash.digest():
            raise damaged("its checksum does not fit")
        return size

    def _file_key(self, key: RecoveryKey) -> bytes:
        if self.header["recovery_key"] != key.seal.name:
            raise CommandError(
                f"this backup was sealed to another recovery key (this is {key.seal.name}, "
                f"it needs {self.header['recovery_key']})",
                "use the recovery key that was shown when the backed-up installation was made",
                code=Exit.REFUSED,
            )
        if _mac(key.seal, self._encoded) != self._mac:
            raise damaged("its header was altered, or it was not made by the installation of this recovery key")
        with suppress(CryptoError, ValueError):
            return key.open(bytes.fromhex(self.header["file_key"]))
        raise damaged("its key can't be opened")

    def _told(self) -> dict[str, Any]:
        try:
            told = json.loads(self._encoded)
            version, _, _ = int(told["format"]), told["recovery_key"], told["file_key"]
        except (ValueError, KeyError, TypeError):
            raise damaged("its header can't be read") from None
        if version > FORMAT:
            raise CommandError(
                f"this backup has format {version}, made by monGARS {told.get('product_version')}; "
                f"this version reads up to {FORMAT}",
                f"install monGARS {told.get('product_version')} or newer",
                code=Exit.REFUSED,
            )
        return dict(told)

    def _frames(self) -> Iterator[bytes]:
        while True:
            length = self._length(MESSAGE_BYTES + _OVERHEAD)
            yield self._read(length)

    def _length(self, most: int) -> int:
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > most:
            raise damaged("a length in it was altered")
        return int(length)

    def _read(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) != size:
            raise damaged("it is cut short")
        self._hash.update(content)
        return content

    def _check_end(self) -> None:
        told = self._file.read(_HASH_BYTES + 1)
        if told != self._hash.digest():
            raise damaged("its end was altered")


class _Rest:
    """What is left of a file, but for the hash at its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = b""

    def before_hash(self) -> Iterator[bytes]:
        kept = b""
        while content := self._file.read(1 << 20):
            kept += content
            yield kept[:-_HASH_BYTES]
            kept = kept[-_HASH_BYTES:]
        self.hash = kept


def damaged(why: str) -> CommandError:
    """A backup that isn't what it was when it was made."""
    return CommandError(
        f"the backup is damaged: {why}", "use another backup, or another copy of this one", code=Exit.REFUSED
    )


def _mac(seal: Seal, encoded: bytes) -> bytes:
    return blake2b(encoded, key=seal.origin, person=b"mongars backup", digest_size=_MAC_BYTES).digest()
