"""Small shared state in key-value buckets: sessions, limits."""

from __future__ import annotations

from libs.shared.contracts.base import Bucket, Message, Principal
from libs.shared.contracts.common import Position


class Session(Message):
    """Where a user's last kept turn lies, so that the next reader waits for it. The key is the user's id."""

    position: Position


SESSIONS = Bucket(
    name="sessions",
    writers=frozenset({Principal.COGNITION}),
    readers=frozenset({Principal.COGNITION, Principal.API}),
    ttl_s=86_400.0,
    in_memory=True,
)
LIMITS = Bucket(
    name="limits",
    writers=frozenset({Principal.API}),
    readers=frozenset({Principal.API}),
    ttl_s=86_400.0,
)
"""Lock-outs, single-use tickets, revoked token ids; rate-limit windows only every few seconds, never per request."""
BUCKETS: tuple[Bucket, ...] = (SESSIONS, LIMITS)
