"""Invitations that are open: kept as hashes, each good for one machine and a quarter of an hour."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from libs.shared.durable import sync_folder, write_private
from libs.shared.layout import StateFolder

LIFE_S = 15 * 60.0
_SET_BACK_S = 60.0
"""How far a clock may be set back meanwhile: one that was far ahead would else have given a code for long."""
_ID = re.compile(r"[0-9a-f]{16}")


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    """Of the secret, which is 256 random bits: a hash made slow would add nothing."""
    expires_at: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Invitation:
    """A new one; the secret is kept nowhere."""

    name: str
    secret: str


def make(folder: StateFolder, now: float) -> Invitation:
    """Opens an invitation until ``LIFE_S`` after ``now`` (seconds since 1970); those that ended are swept out."""
    folder.invitations.mkdir(mode=0o700, exist_ok=True)
    for path, kept in _all(folder):
        if kept is None or _is_over(kept, now):
            path.unlink(missing_ok=True)
    made = Invitation(secrets.token_hex(8), secrets.token_urlsafe(32))
    kept = _Kept(sha256=_hash(made.secret), expires_at=now + LIFE_S)
    write_private(_path(folder, made.name), kept.model_dump_json().encode())
    return made


def is_open(folder: StateFolder, name: str, secret: str, now: float) -> bool:
    """Whether the secret is that of an invitation that is neither used nor over; compared in constant time."""
    kept = _read(_path(folder, name)) if _ID.fullmatch(name) else None
    known = kept.sha256 if kept is not None else _hash("")
    same = hmac.compare_digest(known, _hash(secret))
    return same and kept is not None and not _is_over(kept, now)


def any_open(folder: StateFolder, now: float) -> bool:
    """Whether somebody may still come in with an invitation."""
    return any(kept is not None and not _is_over(kept, now) for _, kept in _all(folder))


def withdraw_all(folder: StateFolder) -> None:
    """Nobody comes in with one that was given until now."""
    for path, _ in _all(folder):
        path.unlink(missing_ok=True)


def consume(folder: StateFolder, name: str) -> bool:
    """Whether it was this call that used it up: of two at the same moment one is told so."""
    try:
        _path(folder, name).unlink()
    except FileNotFoundError:
        return False
    sync_folder(folder.invitations)
    return True


def _is_over(kept: _Kept, now: float) -> bool:
    return not 0 < kept.expires_at - now <= LIFE_S + _SET_BACK_S


def _all(folder: StateFolder) -> Iterator[tuple[Path, _Kept | None]]:
    for path in folder.invitations.glob("*.json"):
        yield path, _read(path)


def _read(path: Path) -> _Kept | None:
    try:
        return _Kept.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _path(folder: StateFolder, name: str) -> Path:
    return folder.invitations / f"{name}.json"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
