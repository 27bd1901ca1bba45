"""Sealing texts with a data key (libsodium secretbox): cognition before it publishes, persistence at rest."""

from __future__ import annotations

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nacl.utils import random

KEY_BYTES = SecretBox.KEY_SIZE


class Unreadable(Exception):
    """The key does not open this text: another key, an overwritten one, or altered bytes."""


def new_key() -> bytes:
    """A fresh 32-byte key from the system's generator."""
    return bytes(random(KEY_BYTES))


def seal(key: bytes, plain: bytes) -> bytes:
    """XSalsa20-Poly1305 with a random nonce in front: 40 bytes longer than ``plain``."""
    return bytes(SecretBox(key).encrypt(plain))


def unseal(key: bytes, sealed: bytes) -> bytes:
    """The plain bytes. Raises Unreadable."""
    try:
        return bytes(SecretBox(key).decrypt(sealed))
    except (CryptoError, ValueError) as error:
        raise Unreadable(type(error).__name__) from None
