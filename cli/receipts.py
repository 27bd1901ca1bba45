"""Checking receipts that were kept as files: are they signed, and by whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from cli.errors import CommandError, Exit

Verdict = Literal["genuine", "signed by another key", "not genuine"]


def receipts_in(text: str) -> list[dict[str, Any]]:
    """Receipts out of JSON: one, a list of them, or what ``GET /api/v1/receipts`` answers. Raises CommandError."""
    try:
        found = list(_receipts(json.loads(text)))
    except (ValueError, RecursionError):
        found = []
    if not found:
        raise CommandError("there is no receipt in it", "give it a receipt as JSON, or a list of them", code=Exit.USAGE)
    return found


def _receipts(told: Any) -> Iterator[dict[str, Any]]:
    if isinstance(told, list):
        for entry in told:
            yield from _receipts(entry)
    elif isinstance(told, dict) and isinstance(told.get("receipts"), list):
        yield from _receipts(told["receipts"])
    elif isinstance(told, dict) and "signature" in told:
        yield told


def verdict(receipt: dict[str, Any], key: str | None) -> Verdict:
    """``key``: the one by which it has to be signed; None takes the receipt's own word for that."""
    from libs.shared.receipts import verify

    if not verify(receipt):
        return "not genuine"
    return "genuine" if key is None or verify(receipt, key) else "signed by another key"
