"""The recovery key: a pair of which the installation keeps the public half, so that backups are made unattended, and
only whoever has the secret half, on paper or elsewhere, can open one."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from hashlib import blake2b

from nacl.bindings import crypto_scalarmult_base
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.utils import random

from cli.errors import CommandError, Exit
from libs.shared.durable import write_private
from libs.shared.layout import StateFolder

_MARK = "MGR1"
_SECRET_BYTES = 32
_CHECK_BYTES = 3
_GROUP = 4
_LOOKS_LIKE = {"0": "O", "1": "I", "8": "B"}
"""Base32 has neither; somebody who copies by hand writes one now and then."""


@dataclass(frozen=True)
class Seal:
    """What the installation keeps: enough to make backups, not to open one."""

    public: bytes
    origin: bytes
    """Follows from the secret too: whoever writes into the backups' folder can't pass something off as a backup."""

    @property
    def name(self) -> str:
        """Tells one recovery key from another, and nothing of it."""
        return blake2b(self.public, person=b"mongars recovery", digest_size=4).hexdigest()

    def close(self, plain: bytes) -> bytes:
        """``plain`` for the secret half alone."""
        return bytes(SealedBox(PublicKey(self.public)).encrypt(plain))


@dataclass(frozen=True, repr=False)
class RecoveryKey:
    """The secret half."""

    secret: bytes

    @classmethod
    def new(cls) -> RecoveryKey:
        return cls(bytes(random(_SECRET_BYTES)))

    @property
    def seal(self) -> Seal:
        return Seal(crypto_scalarmult_base(self.secret), _derived(self.secret, b"mongars origin"))

    def open(self, closed: bytes) -> bytes:
        """Raises CryptoError for what another key's seal closed."""
        return bytes(SealedBox(PrivateKey(self.secret)).decrypt(closed))

    @property
    def words(self) -> str:
        """As it is shown and typed: groups of four, with a checksum in the last."""
        text = base64.b32encode(self.secret + _checksum(self.secret)).decode()
        return "-".join((_MARK, *(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))))

    @classmethod
    def read(cls, text: str) -> RecoveryKey:
        """From what somebody typed, with whatever spaces, hyphens and small letters. Raises CommandError."""
        plain = "".join(text.split()).replace("-", "").upper()
        if not plain.startswith(_MARK):
            raise _unusable(f"it does not begin with {_MARK}")
        plain = "".join(_LOOKS_LIKE.get(c, c) for c in plain.removeprefix(_MARK))
        try:
            told = base64.b32decode(plain)
        except binascii.Error:
            raise _unusable("a character is missing, or one too many") from None
        secret, check = told[:_SECRET_BYTES], told[_SECRET_BYTES:]
        if len(secret) != _SECRET_BYTES or check != _checksum(secret):
            raise _unusable("a character is wrong: its checksum does not fit")
        return cls(secret)


def kept(folder: StateFolder) -> Seal | None:
    """The installation's half; None where no recovery key was made yet. Raises CommandError."""
    try:
        told = json.loads(folder.recovery_key.read_text())
        return Seal(base64.b64decode(told["public"]), base64.b64decode(told["origin"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, CryptoError):
        raise CommandError(f"{folder.recovery_key} can't be read", "restore that file from a backup") from None


def keep(folder: StateFolder, seal: Seal) -> None:
    """From now on backups are sealed to it. Raises OSError."""
    told = {"public": base64.b64encode(seal.public).decode(), "origin": base64.b64encode(seal.origin).decode()}
    write_private(folder.recovery_key, json.dumps(told, indent=1).encode() + b"\n")


def _derived(secret: bytes, person: bytes) -> bytes:
    return blake2b(key=secret, person=person, digest_size=32).digest()


def _checksum(secret: bytes) -> bytes:
    return blake2b(secret, person=b"mongars checksum", digest_size=_CHECK_BYTES).digest()


def _unusable(why: str) -> CommandError:
    return CommandError(f"that is no recovery key: {why}", "compare it with what was written down", code=Exit.USAGE)
