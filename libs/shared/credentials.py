"""Secrets that people and programs present: how they are made, and the only forms in which they are kept."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from argon2 import PasswordHasher

API_KEY_MARK = "mgk_"
"""Every API key begins so: scanners and the logs' scrubber know it by this."""
_PREFIX_CHARACTERS = 12
_PASSWORD_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # noqa: S105 - an alphabet: nothing that reads like something else
_PASSWORD_GROUPS = 4
_PASSWORD_GROUP_CHARACTERS = 5


class NewApiKey(NamedTuple):
    """A key as it is made; ``secret`` is shown once and never kept."""

    secret: str
    prefix: str
    hash: str


def new_api_key() -> NewApiKey:
    """256 random bits behind ``mgk_``, base64url."""
    secret = API_KEY_MARK + secrets.token_urlsafe(32)
    return NewApiKey(secret, secret[:_PREFIX_CHARACTERS], hash_secret(secret))


def hash_secret(secret: str) -> str:
    """SHA-256 in hexadecimal: enough for secrets of 256 random bits, and fast enough for every request."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_password() -> str:
    """A one-time password of 99 random bits that can be read aloud: four groups of five characters."""
    groups = (
        "".join(secrets.choice(_PASSWORD_ALPHABET) for _ in range(_PASSWORD_GROUP_CHARACTERS))
        for _ in range(_PASSWORD_GROUPS)
    )
    return "-".join(groups)


def hash_password(password: str) -> str:
    """argon2id with 19 MiB, two passes, one lane (OWASP's first choice): 27 ms of CPU, so hash in a thread."""
    return _hasher().hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    """Whether ``password`` made ``password_hash``; as slow as hashing. A hash that cannot be read verifies nothing."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher  # only the api and the command line have it, and few of their commands need it

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
