"""Accounts and API keys as the api believes them: asked of persistence once, dropped by event, bounded in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from libs.shared.bus.base import Bus
from libs.shared.cache import LayeredCache, SharedLayer, TtlCache
from libs.shared.contracts.accounts import FIND_KEY, READ_USER, AccountChanged, FindKey, User, UserRef
from libs.shared.contracts.base import Message
from libs.shared.contracts.common import Id, MemoryMode, Role
from libs.shared.contracts.sessions import CREDENTIALS, credential_entry
from libs.shared.credentials import hash_secret
from libs.shared.errors import UserNotFound

_MOST_ENTRIES = 4096


class KeyHolder(Message):
    """What an API key may do, and for whom. It lies in the broker's files, so it has ids and rights, and no name."""

    key_id: Id
    user_id: Id
    role: Role
    """Of the account."""
    disabled: bool
    memory: MemoryMode
    scopes: tuple[str, ...]
    expires_at: datetime | None


class Accounts:
    """Who a key or a session belongs to, now; believed a while longer when persistence is away.

    Keys are shared with the api's other processes and outlive a restart; accounts have names and stay in the process.
    ``clock`` tells seconds since the epoch, which the processes have in common; ``steady`` seconds that nobody sets.
    """

    def __init__(
        self, bus: Bus, *, fresh_s: float, grace_s: float, clock: Callable[[], float], steady: Callable[[], float]
    ) -> None:
        self._bus = bus
        keys: TtlCache[str, KeyHolder | None] = TtlCache(
            "api_keys", max_entries=_MOST_ENTRIES, ttl_s=fresh_s, grace_s=grace_s, clock=steady
        )
        shared = SharedLayer("api_keys", bus.bucket(CREDENTIALS), KeyHolder, ttl_s=fresh_s, clock=clock)
        self._keys = LayeredCache(keys, shared)
        self._users: TtlCache[str, User | None] = TtlCache(
            "accounts", max_entries=_MOST_ENTRIES, ttl_s=fresh_s, grace_s=grace_s, clock=steady
        )

    async def key(self, secret: str) -> KeyHolder | None:
        """What the key may do, None when there is no such key. Raises Unavailable."""
        hashed = hash_secret(secret)
        return await self._keys.get(credential_entry(hashed), lambda: self._find_key(hashed))

    async def user(self, user_id: str) -> User | None:
        """The account, None when it is gone. Raises Unavailable."""
        return await self._users.get(user_id, lambda: self._read_user(user_id))

    async def forget(self, changed: AccountChanged) -> None:
        """Drops what is believed of the user, and of the key."""
        self._users.discard(changed.user_id)
        # the process's own beliefs first: they go at once, while what is shared takes an answer of the broker
        await self._keys.discard_where(lambda holder: holder is None or holder.user_id == changed.user_id)
        if changed.key_hash is not None:
            await self._keys.discard(credential_entry(changed.key_hash))

    async def _find_key(self, hashed: str) -> KeyHolder | None:
        found = await self._bus.request(FIND_KEY, FindKey(hash=hashed))
        key, user = found.key, found.user
        if key is None or user is None:
            return None
        return KeyHolder(
            key_id=key.key_id,
            user_id=user.user_id,
            role=user.role,
            disabled=user.disabled,
            memory=key.memory,
            scopes=key.scopes,
            expires_at=key.expires_at,
        )

    async def _read_user(self, user_id: str) -> User | None:
        try:
            return await self._bus.request(READ_USER, UserRef(user_id=user_id))
        except UserNotFound:
            return None
