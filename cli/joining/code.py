"""The code that an invitation prints: where the installation is, how to know that it is the one, and a secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import ssl
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_PREFIX = "mongars1-"
_CHECK_BYTES = 4
_ONE_BLOCK = re.compile(r"\s*-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)\n-----END CERTIFICATE-----\s*", re.ASCII)


class JoinCode(BaseModel):
    """What travels, by whatever way the owner carries it: whoever has it first may join."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: Annotated[tuple[str, ...], Field(max_length=32)]
    """``host:port``, the likeliest first."""
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
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
    """SHA-256 in hexadecimal. Raises ValueError for anything but one certificate."""
    return hashlib.sha256(_der(pem)).hexdigest()


def believed(pem: str, fingerprint: str) -> str:
    """PEM of the one certificate that has the fingerprint, written anew from the bytes that were compared.

    Whoever trusts a PEM text trusts every certificate in it: what a stranger sends is never handed on as it came.

    Raises ValueError for another fingerprint, and for anything but one certificate.
    """
    der = _der(pem)
    if not hmac.compare_digest(hashlib.sha256(der).hexdigest(), fingerprint):
        raise ValueError("another certificate")
    return ssl.DER_cert_to_PEM_cert(der)


def _der(pem: str) -> bytes:
    block = _ONE_BLOCK.fullmatch(pem)
    if block is None:
        raise ValueError("this is not one certificate")
    return base64.b64decode("".join(block[1].split()), validate=True)


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]
