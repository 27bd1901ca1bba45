"""The key with which a command speaks to its own installation: made for it alone, revoked at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cli.errors import CommandError
from cli.installation import Installation

_KEY_LIFE = "1d"
"""A command that was killed could not revoke its key: it ends by itself."""


@dataclass
class OwnKey:
    """A key of ``user``: of the account of that name; without a name, of the only account."""

    installation: Installation
    user: str | None
    name: str
    """What the list of keys calls it."""
    secret: str = ""
    make_user: bool = False
    """An account of that name where there is none: for what adds something, so that a slip of the pen makes none."""
    all_rights: bool = False
    """Those of the account, where a key is a plain user's otherwise; without a name: of an administrator."""
    _made: list[tuple[str, str]] = field(default_factory=list)

    def renew(self) -> None:
        """Makes a new one. Raises CommandError when the installation doesn't run."""
        user_id, key_id, self.secret = asyncio.run(_make_key(self))
        self._made.append((user_id, key_id))

    def revoke(self) -> None:
        """Ends every key that was made."""
        for user_id, key_id in self._made:
            asyncio.run(_revoke(self.installation, user_id, key_id))
        self._made.clear()


@contextmanager
def own_key(
    installation: Installation, user: str | None, name: str, *, make_user: bool = False, all_rights: bool = False
) -> Iterator[OwnKey]:
    """A fresh key; revoked at the end, unless the installation went away before."""
    key = OwnKey(installation, user, name, make_user=make_user, all_rights=all_rights)
    key.renew()
    try:
        yield key
    finally:
        with suppress(CommandError):
            key.revoke()


async def _make_key(key: OwnKey) -> tuple[str, str, str]:
    from cli import accounts
    from cli.bus import as_command
    from libs.shared.contracts.common import MemoryMode, Role

    async with as_command(key.installation) as bus:
        if key.user is None:
            able = [user for user in await accounts.all_users(bus) if not user.disabled]
            admins = [user for user in able if user.role is Role.ADMIN] if key.all_rights else []
            user = admins[0] if admins else accounts.only(able)
        elif key.make_user:
            user = await accounts.ensure_user(bus, key.user)
        else:
            user = await accounts.user_named(bus, key.user)
        expires_at = accounts.expiry(_KEY_LIFE, datetime.now(UTC))
        scopes = (user.role.value,) if key.all_rights else ()
        secret, made = await accounts.create_key(bus, user, key.name, MemoryMode.READ_WRITE, expires_at, scopes)
    return user.user_id, made.key_id, secret.secret


async def _revoke(installation: Installation, user_id: str, key_id: str) -> None:
    from cli.bus import as_command
    from libs.shared.contracts.accounts import REVOKE_KEY, KeyRef

    async with as_command(installation) as bus:
        await bus.request(REVOKE_KEY, KeyRef(user_id=user_id, key_id=key_id))
