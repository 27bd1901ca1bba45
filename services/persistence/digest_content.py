"""What a digest's row holds, sealed: a length, JSON of the sentences and their keys, and the vectors behind. Pure."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable

from libs.shared.contracts.digests import Digest

_LENGTH = struct.Struct("<I")


def packed(digest: Digest) -> bytes:
    """To be sealed."""
    told = {"sentences": digest.sentences, "keys": digest.keys.hex()}
    words = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
    return _LENGTH.pack(len(words)) + words + digest.vectors


def unpacked(message_id: str, version: int, content: bytes) -> Digest:
    """The digest again; one of a release that had no keys is a list of sentences."""
    (length,) = _LENGTH.unpack_from(content)
    end = _LENGTH.size + length
    told = json.loads(content[_LENGTH.size : end])
    if isinstance(told, list):
        told = {"sentences": told, "keys": ""}
    return Digest(
        message_id=message_id,
        version=version,
        sentences=tuple(told["sentences"]),
        vectors=content[end:],
        keys=bytes.fromhex(told["keys"]),
    )


def commitment(generation_id: str, rows: Iterable[tuple[str, int, bytes]]) -> str:
    """SHA-256 over a generation's id and its rows (memory, version, sealed content), whatever their order.

    Who holds it can be shown what was put in force, and learns nothing of what it says.
    """
    hashed = sorted((memory, version, hashlib.sha256(content).hexdigest()) for memory, version, content in rows)
    told = json.dumps([generation_id, hashed], separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()
