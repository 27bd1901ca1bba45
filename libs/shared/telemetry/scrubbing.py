"""Takes people and secrets out of what is about to be logged: by the field's name, and by what the text looks like."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import PurePath
from typing import Any

MAX_TEXT = 2000
MAX_ITEMS = 50
MAX_DEPTH = 4


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IDENTIFIERS = _words(
    "account account_id actor client client_ip conversation conversation_id display_name email family family_id"
    " first_name full_name ip last_name login name owner owner_id peer phone remote remote_addr session session_id"
    " user user_id username user_name"
)
"""Fields that say who: replaced by a pseudonym, so that two lines about one person can still be told to be so."""

SECRETS = _words(
    "apikey authorization bearer cookie credential credentials csrf jwt nkey otp passphrase passwd password"
    " seed secret ticket token"
)
"""Words that make a field a secret wherever they stand in its name (``refresh_token``, ``password_hash``)."""

CONTENT = _words(
    "address answer body content document draft excerpt headers input input_value memory memories message messages"
    " notes params parameters prompt q query query_string question reply snippet text title turn turns"
)
"""Fields that hold what people said: only their size is kept."""

_NOT_SECRET_ENDINGS = ("_type", "_file", "_count", "_s", "_kind")
_PLAIN_WORD = re.compile(r"[a-z][a-z0-9_]{0,23}")
_PSEUDONYM_KEY = secrets.token_bytes(16)

_NAMED_IN_TEXT = IDENTIFIERS | SECRETS | {"api_key", "access_token", "refresh_token"}
_NAMED = "|".join(sorted(_NAMED_IN_TEXT, key=len, reverse=True))

_JWT = re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?")
_NKEY = re.compile(r"\bS[ACNOUX][A-Z2-7]{40,}\b")
_API_KEY = re.compile(r"\b(?:mgk_|sk-|hf_|ghp_|xox[abp]-)[\w.-]{6,}")
_BEARER = re.compile(r"(?i)\b(bearer|digest)\s+[\w.~+/=-]{6,}|(?<=authorization: )basic\s+\S+")
_USERINFO = re.compile(r"(?<=://)[^\s/'\"]*@")
_QUERY = re.compile(r"([?&][\w.\[\]-]{1,64}=)[^&\s'\"<>]+")
_INPUT_VALUE = re.compile(r"input_value=.*?(?=, input_type=|\n|$)", re.DOTALL)
_NAMED_VALUE = re.compile(
    rf"""(?i)(["']?\b(?:{_NAMED})\b["']?\s*[=:]\s*)(?!//)(?:b?"[^"]*"|b?'[^']*'|[^\s,;&)\]}}"']+)"""
)
_EMAIL = re.compile(r"[^\s@<>\"'(),;:=\[\]{}|\\]{1,64}@[^\s@<>\"'(),;:=\[\]{}|\\/]{1,255}\.[^\W\d_]{2,}")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:)[0-9A-Fa-f:]{2,39}(?:(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])"
)
_HOME = re.compile(r"(?<![\w.])/(?:home|Users)/[^/\s'\"]+")
_RANDOM = re.compile(r"(?<![\w/+-])(?=[\w+/-]*[a-z])(?=[\w+/-]*[A-Z])(?=[\w+/-]*\d)[\w+-]{40,}={0,2}(?![\w/+-])")


def pseudonym(value: object) -> str:
    """The same short word for the same value within this process's life; it cannot be traced back after it."""
    return "~" + hashlib.blake2s(str(value).encode("utf-8", "replace"), key=_PSEUDONYM_KEY, digest_size=4).hexdigest()


def _address(match: re.Match[str]) -> str:
    try:
        address = ipaddress.ip_address(match.group())
    except ValueError:
        return match.group()
    # An address of the machine itself says nothing of anyone, and the reader of the log needs it.
    return match.group() if address.is_loopback or address.is_unspecified else "<ip>"


def scrub_text(text: str) -> str:
    """``text`` without e-mail and IP addresses, credentials, keys, tokens, home folders and named identifiers."""
    if _PLAIN_WORD.fullmatch(text):
        return text
    # Cut before and after: what stood across the cut must not be missed, and nothing may grow the line without bound.
    text = _INPUT_VALUE.sub("input_value=<hidden>", text[: 4 * MAX_TEXT])
    text = _JWT.sub("<jwt>", text)
    text = _NKEY.sub("<seed>", text)
    text = _API_KEY.sub("<api-key>", text)
    text = _BEARER.sub("<credentials>", text)
    text = _USERINFO.sub("<credentials>@", text)
    text = _QUERY.sub(r"\1<hidden>", text)
    text = _NAMED_VALUE.sub(r"\1<hidden>", text)
    text = _EMAIL.sub("<email>", text)
    text = _IPV4.sub(_address, text)
    text = _IPV6.sub(_address, text)
    text = _HOME.sub("~", text)
    return _RANDOM.sub("<secret>", text)[:MAX_TEXT]


def _is_secret(key: str) -> bool:
    if key.endswith(_NOT_SECRET_ENDINGS):
        return False
    return not SECRETS.isdisjoint(key.split("_")) or "api_key" in key or "private_key" in key


def scrub_field(key: str, value: Any, depth: int = 0) -> Any:
    """A JSON value that may be logged under ``key``."""
    key = key.lower().replace("-", "_")
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(key):
        return "<hidden>"
    if key in IDENTIFIERS:
        return pseudonym(value)
    if key in CONTENT:
        return f"<{len(value)}>" if hasattr(value, "__len__") else "<hidden>"
    return scrub_value(value, depth)


def scrub_value(value: Any, depth: int = 0) -> Any:
    """A JSON value; objects appear as their type's name alone, since a ``repr`` may say anything."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Enum():
            return scrub_value(value.value, depth)
        case str() | PurePath():
            return scrub_text(str(value))
        case datetime():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() | list() | tuple() | set() | frozenset():
            return _scrub_container(value, depth + 1)
        case type():
            return value.__name__
    return f"<{type(value).__name__}>"


def _scrub_container(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return f"<{len(value)} items>"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ITEMS]
        return {scrub_text(str(key)): scrub_field(str(key), item, depth) for key, item in pairs}
    return [scrub_value(item, depth) for item in list(value)[:MAX_ITEMS]]
