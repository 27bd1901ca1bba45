"""Taking people and secrets out of a bundle: an identifier has one pseudonym in all of it, and nowhere else."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from libs.shared.telemetry.scrubbing import CONTENT, IDENTIFIERS, SECRETS, scrub_text

_DIGITS = 10
_SHORTEST_NAME = 2
_PSEUDONYM = re.compile(r"~[0-9a-f]{8,10}")
_EMAIL = re.compile(r"[^\s@<>\"'(),;:=\[\]{}|\\]{1,64}@[^\s@<>\"'(),;:=\[\]{}|\\/]{1,255}\.[^\W\d_]{2,}")
_IDENTIFIER = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b|\bU[A-Z2-7]{55}\b"
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:)[0-9A-Fa-f:]{2,39}(?![\w:])")
_PROSE = frozenset(
    {"event", "frames", "detail", "reason", "problem", "remedy", "what", "error", "type", "message", "status"}
)
"""Fields whose words are the product's own; any other text with a blank in it is left out."""
_DEEPEST = 8


class Pseudonyms:
    """``names`` are replaced wherever they stand as a word. The key lives as long as this object."""

    def __init__(self, names: Iterable[str] = (), *, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)
        known = sorted({name for name in names if len(name) >= _SHORTEST_NAME}, key=len, reverse=True)
        words = "|".join(re.escape(name) for name in known)
        self._names = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) if words else None

    def of(self, value: object) -> str:
        """The value's pseudonym in this bundle."""
        text = str(value)
        if _PSEUDONYM.fullmatch(text):
            return text
        return "~" + hmac.new(self._key, text.lower().encode("utf-8", "replace"), sha256).hexdigest()[:_DIGITS]

    def text(self, text: str) -> str:
        """A line without names, addresses, identifiers and secrets."""
        text = _EMAIL.sub(lambda match: self.of(match.group()), text)
        if self._names is not None:
            text = self._names.sub(lambda match: self.of(match.group()), text)
        text = _IDENTIFIER.sub(lambda match: self.of(match.group()), text)
        text = _IPV4.sub(self._address, text)
        text = _IPV6.sub(self._address, text)
        return scrub_text(text)

    def value(self, value: Any, key: str = "", depth: int = 0) -> Any:
        """The same for a JSON value; what holds people's words keeps only its size."""
        key = key.lower().replace("-", "_")
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth > _DEEPEST:
            return "<deeper>"
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(item, str(name), depth + 1) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, key, depth + 1) for item in value]
        return self._string(str(value), key)

    def _string(self, text: str, key: str) -> str:
        if key in IDENTIFIERS:
            return self.of(text)
        if not SECRETS.isdisjoint(key.split("_")) and not key.endswith(("_file", "_type")):
            return "<hidden>"
        if key in CONTENT and key not in _PROSE:
            return f"<{len(text)} characters>"
        cleaned = self.text(text)
        if " " in text.strip() and key not in _PROSE:
            return f"<{len(text)} characters>"
        return cleaned

    def _address(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match.group())
        except ValueError:
            return match.group()
        return match.group() if address.is_loopback or address.is_unspecified else self.of(match.group())
