"""What vouches for a file: the checksum that its source tells, and how a file is held against it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cli.errors import CommandError, Exit

Kind = Literal["sha256", "git-blob"]
PIECE = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_LINE = re.compile(r"\\?([0-9A-Fa-f]{64})(?:[ \t]+[ *]?(.+))?")
"""As ``sha256sum`` writes it, or the checksum alone."""


@dataclass(frozen=True)
class Checksum:
    """``value`` in lower-case hexadecimal, and ``source``: who told it."""

    kind: Kind
    value: str
    source: str


def sha256(value: str, source: str) -> Checksum:
    """Raises CommandError for what can't be a SHA-256."""
    told = value.strip().lower().removeprefix("sha256:")
    if not _SHA256.fullmatch(told):
        raise CommandError(f"{value!r} is no SHA-256", "it has 64 hexadecimal digits", code=Exit.USAGE)
    return Checksum("sha256", told, source)


def of_hub(lfs: str | None, blob: str | None) -> Checksum | None:
    """From a hub's listing: the SHA-256 of a large file, else the id of its git blob (SHA-1)."""
    if lfs is not None and _SHA256.fullmatch(lfs):
        return Checksum("sha256", lfs, "the hub")
    if blob is not None and _SHA1.fullmatch(blob):
        return Checksum("git-blob", blob, "the hub")
    return None


def of_headers(headers: Mapping[str, str]) -> Checksum | None:
    """What a server says of the whole file: a hub's linked ETag, or a digest field (RFC 9530, RFC 3230)."""
    linked = headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"').lower()
    if _SHA256.fullmatch(linked):
        return Checksum("sha256", linked, "the server (X-Linked-Etag)")
    for field, form in (("Repr-Digest", r"sha-256=:([A-Za-z0-9+/=]+):"), ("Digest", r"SHA-256=([A-Za-z0-9+/=]+)")):
        if found := re.search(form, headers.get(field, ""), re.IGNORECASE):
            value = _decoded(found[1])
            if value is not None:
                return Checksum("sha256", value, f"the server ({field})")
    return None


def _decoded(value: str) -> str | None:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == hashlib.sha256().digest_size else None


def beside(path: Path) -> Checksum | None:
    """From ``FILE.sha256`` or ``SHA256SUMS`` beside it. Raises CommandError when ``FILE.sha256`` holds none."""
    for name in (f"{path.name}.sha256", f"{path.name}.sha256sum", "SHA256SUMS"):
        listing = path.with_name(name)
        if not listing.is_file():
            continue
        found = _in_listing(listing.read_text(errors="replace"), path.name, alone=name != "SHA256SUMS")
        if found is not None:
            return Checksum("sha256", found, name)
        if name != "SHA256SUMS":
            raise CommandError(f"{listing} holds no SHA-256 of {path.name}", "mend it, or take it away")
    return None


def _in_listing(text: str, name: str, *, alone: bool) -> str | None:
    """``alone``: the listing is of this one file, under whatever name."""
    for line in text.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found and (Path(found[2] or "").name == name or alone):
            return found[1].lower()
    return None


def hasher(kind: Kind, size: int) -> Any:
    """A fresh hash; a git blob begins with its kind and its size in bytes."""
    if kind == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def of_file(path: Path, kind: Kind = "sha256") -> str:
    """The checksum of a whole file, in lower-case hexadecimal."""
    made = hasher(kind, path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            made.update(piece)
    return str(made.hexdigest())
