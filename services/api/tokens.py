"""Access tokens: short-lived JWTs with one fixed algorithm, signed by the installation's own key."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jwt

from services.api.errors import InvalidToken

_ALGORITHM = "HS256"
_ISSUER = "mongars"
_AUDIENCE = "mongars-api"
_KEY_BYTES = 32
_CLOCKS_DIFFER_S = 5.0
"""What the clock may be corrected by without anybody noticing."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a valid token says; times are seconds since the epoch."""

    user_id: str
    role: str
    family: str
    """The session (refresh token family) that it belongs to."""
    jti: str
    issued_at: float
    expires_at: float


def read_signing_key(path: Path) -> bytes:
    """The installation's 32-byte key. Raises ValueError when the file holds anything else."""
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path.name} has {len(key)} bytes, and a token key has {_KEY_BYTES}")
    return key


class TokenSigner:
    """Signs and verifies. ``clock`` tells seconds since the epoch."""

    def __init__(self, key: bytes, *, lifetime_s: float, clock: Callable[[], float]) -> None:
        self._key = key
        self._lifetime_s = lifetime_s
        self._clock = clock

    @property
    def lifetime_s(self) -> float:
        return self._lifetime_s

    def issue(self, *, user_id: str, role: str, family: str) -> str:
        now = self._clock()
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": user_id,
            "role": role,
            "family": family,
            "jti": secrets.token_hex(16),
            "iat": now,
            "exp": now + self._lifetime_s,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def verify(self, token: str) -> AccessToken:
        """Raises InvalidToken, with the same words whatever is wrong but its age."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                audience=_AUDIENCE,
                options={
                    "require": ["exp", "iat", "jti", "sub", "iss", "aud"],
                    "verify_exp": False,  # below, by the clock that was given
                    "verify_iat": False,
                },
            )
            found = AccessToken(
                user_id=str(claims["sub"]),
                role=str(claims["role"]),
                family=str(claims["family"]),
                jti=str(claims["jti"]),
                issued_at=float(claims["iat"]),
                expires_at=float(claims["exp"]),
            )
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            raise InvalidToken("The access token is not valid.") from None
        now = self._clock()
        # one from the future was issued before the clock was set back: it would outlive its time, and its revocation
        if found.expires_at <= now or found.issued_at > now + _CLOCKS_DIFFER_S:
            raise InvalidToken("The access token has expired: refresh it.")
        return found
