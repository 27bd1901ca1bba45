"""A PostgreSQL that somebody else runs: its address as the user gives it, without the password as it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from cli.errors import CommandError, Exit

VARIABLE = "MONGARS_DATABASE_URL"
_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_OPTIONS = ("host", "port", "sslmode")
_REMEDY = "write it so: postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require"


@dataclass(frozen=True)
class Address:
    """``url`` is ``postgresql://…`` without its password."""

    url: str
    password: str | None = None


def parse(text: str) -> Address:
    """Raises CommandError, which repeats nothing of ``text``: there may be a password in it."""
    try:
        parts = urlsplit(text.strip())
        options = parse_qsl(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
        _ = parts.port
    except ValueError:
        raise _unusable("is no address") from None
    if parts.scheme not in _SCHEMES:
        raise _unusable("does not begin with postgresql://")
    if parts.path in ("", "/"):
        raise _unusable("names no database")
    if any(character.isspace() for character in unquote(parts.netloc + parts.path)):
        raise _unusable("has a blank or a line break in it")
    return _address(parts, options)


def _address(parts: SplitResult, options: list[tuple[str, str]]) -> Address:
    user, _, host = parts.netloc.rpartition("@")
    user, _, password = user.partition(":")
    kept = []
    for name, value in options:
        if name == "password":
            password = quote(value)
        elif name in ("ssl", *_OPTIONS):
            kept.append(("sslmode" if name == "ssl" else name, value))
        else:
            raise _unusable("has an option that is not one of " + ", ".join(_OPTIONS))
    netloc = f"{user}@{host}" if user else host
    query = urlencode(kept, safe="/")
    # not by urlunsplit, which drops the slashes of an address without a host
    return Address(f"postgresql://{netloc}{parts.path}" + (f"?{query}" if query else ""), unquote(password) or None)


def service_url(url: str) -> str:
    """The same for SQLAlchemy on asyncpg."""
    return url.replace("postgresql:", "postgresql+asyncpg:", 1).replace("sslmode=", "ssl=")


def _unusable(why: str) -> CommandError:
    return CommandError(f"{VARIABLE} {why}", _REMEDY, code=Exit.USAGE)
