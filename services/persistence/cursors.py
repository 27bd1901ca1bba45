"""Cursors of listings: opaque to callers, a listing's last key to us."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any

from libs.shared.errors import InvalidRequest


def encode_cursor(*key: str | int | datetime) -> str:
    """An opaque text for a listing's last key."""
    plain = [part.isoformat() if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode()


def decode_cursor(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """The key again. Raises InvalidRequest for what we never gave out."""
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not isinstance(parts, list) or len(parts) != len(kinds):
            raise ValueError("another listing's cursor")
        return tuple(_part(part, kind) for part, kind in zip(parts, kinds, strict=True))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidRequest("the cursor is not one of this listing", errors=["cursor"]) from None


def _part(part: Any, kind: type) -> Any:
    if kind is datetime:
        return datetime.fromisoformat(part)
    if type(part) is not kind:
        raise TypeError(kind.__name__)
    return part
