"""Which conversations are held out: decided by a hash of each one's id, so that a dataset's growth moves few. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection

LEAST_HELD_OUT = 5
"""Conversations below which no interval says anything (``evaluation.bootstrap.LEAST_UNITS``)."""

FEW, WANTED_OF_FEW, WANTED = 10, 6, 8
"""Of ten conversations six are held out, of sixteen and more at least eight: what five have to show to count as more
than chance is more than most that is any good can."""


def place(conversation_id: str, salt: str = "") -> float:
    """Where a conversation stands between 0 and 1, wherever and whenever that is asked."""
    digest = hashlib.sha256(f"{salt}|{conversation_id}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def held_out(conversations: Collection[str], share: float, salt: str = "") -> frozenset[str]:
    """Those whose place is below ``share``; of few conversations those of the lowest places, so that there are
    ``WANTED``, or half; of no fewer than ``FEW`` at least ``WANTED_OF_FEW``."""
    ordered = sorted(set(conversations), key=lambda one: (place(one, salt), one))
    below = sum(place(one, salt) < share for one in ordered)
    least = min(WANTED, len(ordered) // 2)
    least = max(least, WANTED_OF_FEW) if len(ordered) >= FEW else least
    most = max(least, len(ordered) - 1) if len(ordered) > 1 else 0
    return frozenset(ordered[: min(max(below, least), most)])


MOST_TRIED = 50
"""Conversations that are tried in the place of one of which nothing is left."""


def refilled(
    conversations: Collection[str], apart: frozenset[str], left: Callable[[frozenset[str]], Collection[str]]
) -> frozenset[str]:
    """``apart``, where so many of it are left that something can be told from them; else with others in place of those
    that ``left`` (held out → those of which something still is) says nothing is left of, as long as that makes more.

    Those are trained on instead: what they answer is trained on already. As many stay on either side as before.
    """
    standing = set(left(apart))
    if len(standing) >= LEAST_HELD_OUT:
        return apart
    others = sorted(set(conversations) - apart, key=lambda one: (place(one), one))[:MOST_TRIED]
    for other in others:
        spent = sorted(apart - standing)
        if not spent or len(standing) >= LEAST_HELD_OUT:
            break
        tried = apart - {spent[0]} | {other}
        found = set(left(tried))
        if len(found) > len(standing):
            apart, standing = tried, found
    return apart
