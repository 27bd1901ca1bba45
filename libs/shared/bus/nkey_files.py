"""Seeds with which clients prove to the broker who they are, and their public halves."""

from __future__ import annotations

import base64
import binascii
import secrets
from pathlib import Path

import nkeys

_SEED_PREFIX = 18 << 3
_USER_PREFIX = 20 << 3
_PUBLIC_BYTES = 1 + 32 + 2


def new_seed() -> str:
    """A fresh Ed25519 user seed in NATS' text form (``SU…``)."""
    # two prefix bytes share their bits, as the nkeys format packs them
    head = bytes([_SEED_PREFIX | (_USER_PREFIX >> 5), (_USER_PREFIX & 31) << 3])
    body = head + secrets.token_bytes(32)
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")


def public_key(seed: str) -> str:
    """The public key (``U…``) that belongs to ``seed``. Raises ValueError for a malformed seed."""
    try:
        pair = nkeys.from_seed(bytearray(seed.strip().encode()))
    except (nkeys.NkeysError, binascii.Error) as error:
        raise ValueError(f"not an nkey seed ({type(error).__name__})") from None
    found: str = pair.public_key.decode()
    pair.wipe()
    return found


def is_public_key(text: str) -> bool:
    """Whether ``text`` is a user's public key as the broker's configuration takes it: anything else would break it."""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        return False
    head, check = raw[:-2], raw[-2:]
    sound = len(raw) == _PUBLIC_BYTES and head[0] == _USER_PREFIX
    return sound and binascii.crc_hqx(head, 0).to_bytes(2, "little") == check


def read_public_key(seed_file: Path) -> str:
    """As ``public_key``, of a file."""
    return public_key(seed_file.read_text())
