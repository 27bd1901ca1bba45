"""The code that an invitation prints: where the installation is, how to know that it is the one, and a secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl

from pydantic import BaseModel, ConfigDict, ValidationError

_PREFIX = "mongars1-"
_CHECK_BYTES = 4


class JoinCode(BaseModel):
    """What travels, by whatever way the owner carries it: whoever has it first may join."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: tuple[str, ...]
    """``host:port``, the likeliest first."""
    fingerprint: str
    """SHA-256 of the nodes' authority (DER), in hexadecimal."""
    invitation: str
    secret: str


def encoded(code: JoinCode) -> str:
    """As one word without blanks."""
    body = code.model_dump_json().encode()
    return _PREFIX + base64.urlsafe_b64encode(_check(body) + body).decode().rstrip("=")


def decoded(text: str) -> JoinCode:
    """Raises ValueError for what is no code, or was copied in part."""
    word = "".join(text.split())
    if not word.startswith(_PREFIX):
        raise ValueError("it does not begin like one")
    packed = word.removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(body):
            raise ValueError("a part of it is missing or changed")
        return JoinCode.model_validate_json(body)
    except (binascii.Error, ValidationError):
        raise ValueError("a part of it is missing or changed") from None


def fingerprint_of(pem: str) -> str:
    """SHA-256 in hexadecimal. Raises ValueError for what is no certificate."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]
