"""Accounts and API keys as the api believes them: asked of persistence once, dropped by event, bounded in time."""

from __future__ import annotations

from collections.abc import Callable

from libs.shared.bus.base import Bus
from libs.shared.cache import TtlCache
from libs.shared.contracts.accounts import FIND_KEY, READ_USER, AccountChanged, FindKey, FoundKey, User, UserRef
from libs.shared.credentials import hash_secret
from libs.shared.errors import UserNotFound

_MOST_ENTRIES = 4096


class Accounts:
    """Who a key or a session belongs to, now; believed a while longer when persistence is away."""

    def __init__(self, bus: Bus, *, fresh_s: float, grace_s: float, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._keys: TtlCache[str, FoundKey] = TtlCache(
            "api_keys", max_entries=_MOST_ENTRIES, ttl_s=fresh_s, grace_s=grace_s, clock=clock
        )
        self._users: TtlCache[str, User | None] = TtlCache(
            "accounts", max_entries=_MOST_ENTRIES, ttl_s=fresh_s, grace_s=grace_s, clock=clock
        )

    async def key(self, secret: str) -> FoundKey:
        """The key with its owner, both None when there is none. Raises Unavailable."""
        hashed = hash_secret(secret)
        return await self._keys.get(hashed, lambda: self._find_key(hashed))

    async def user(self, user_id: str) -> User | None:
        """The account, None when it is gone. Raises Unavailable."""
        return await self._users.get(user_id, lambda: self._read_user(user_id))

    async def forget(self, changed: AccountChanged) -> None:
        """Drops what is believed of the user, and of the key."""
        if changed.key_hash is not None:
            self._keys.discard(changed.key_hash)
        self._keys.discard_where(lambda found: found.user is None or found.user.user_id == changed.user_id)
        self._users.discard(changed.user_id)

    async def _find_key(self, hashed: str) -> FoundKey:
        return await self._bus.request(FIND_KEY, FindKey(hash=hashed))

    async def _read_user(self, user_id: str) -> User | None:
        try:
            return await self._bus.request(READ_USER, UserRef(user_id=user_id))
        except UserNotFound:
            return None
