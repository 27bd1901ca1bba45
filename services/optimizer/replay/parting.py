"""Which conversations a search may see, and which judge what it comes to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from libs.shared.contracts.replay import Evidence

SALT = "held-out"
HELD_OUT = 0.4
"""Of the conversations: never seen by a search, and what decides."""


def share_of(conversation_id: str, salt: str) -> float:
    """Where a conversation lies in 0..1: always the same for one salt, and unlike anything that is said in it."""
    digest = blake2b(f"{salt}\0{conversation_id}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


def aside(one: Evidence, salt: str, share: float) -> bool:
    return share_of(one.conversation_id, salt) < share


def sides(evidence: Sequence[Evidence], salt: str = SALT, share: float = HELD_OUT) -> tuple[int, int]:
    """How many questions lie on either side."""
    out = sum(aside(one, salt, share) for one in evidence if one.relevant)
    return sum(bool(one.relevant) for one in evidence) - out, out
