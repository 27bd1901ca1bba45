"""Which conversations are held out: decided by a hash of each one's id, so that a dataset's growth moves few. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

LEAST_HELD_OUT = 5
"""Conversations below which no interval says anything (``evaluation.bootstrap.LEAST_UNITS``)."""


def place(conversation_id: str, salt: str = "") -> float:
    """Where a conversation stands between 0 and 1, wherever and whenever that is asked."""
    digest = hashlib.sha256(f"{salt}|{conversation_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def held_out(conversations: Collection[str], share: float, salt: str = "") -> frozenset[str]:
    """Those whose place is below ``share``; of few conversations, those of the lowest places, so that there are
    ``LEAST_HELD_OUT`` where that leaves at least as many to train on, else half."""
    ordered = sorted(set(conversations), key=lambda one: (place(one, salt), one))
    below = sum(place(one, salt) < share for one in ordered)
    least = min(LEAST_HELD_OUT, len(ordered) // 2)
    most = max(least, len(ordered) - 1) if len(ordered) > 1 else 0
    return frozenset(ordered[: min(max(below, least), most)])
