"""Small shared state in key-value buckets: sessions, limits, credentials."""

from __future__ import annotations

from libs.shared.contracts.base import MIB, Bucket, Message, Principal
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
CREDENTIALS = Bucket(
    name="credentials",
    writers=frozenset({Principal.API, Principal.PERSISTENCE}),
    readers=frozenset({Principal.API}),
    ttl_s=300.0,
    in_memory=True,
    max_bytes=8 * MIB,
    max_entries=8192,
    evicts=True,
)
"""Whose API keys were asked for lately, so that the api's processes and restarts share it. Persistence deletes an entry
before it acknowledges what ends it; ``ttl_s`` is far longer than a load takes, so that a deletion outlives it."""
BUCKETS: tuple[Bucket, ...] = (SESSIONS, LIMITS, CREDENTIALS)


def credential_entry(key_hash: str) -> str:
    """The entry in CREDENTIALS of the API key with this hash."""
    return f"key.{key_hash}"
