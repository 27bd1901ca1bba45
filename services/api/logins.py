"""Sessions of people: a password for tokens, a refresh token for the next ones, and their end."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import (
    CHANGE_USER,
    END_SESSION,
    FIND_LOGIN,
    ROTATE_REFRESH,
    SAVE_REFRESH,
    AccountChanged,
    AdmitAgain,
    ChangeUser,
    EndSession,
    Login,
    RotateRefresh,
    SaveRefresh,
    User,
    UserRef,
)
from libs.shared.contracts.base import Empty
from libs.shared.credentials import hash_secret
from libs.shared.errors import RefreshInvalid, ServiceError
from libs.shared.telemetry import get_logger
from services.api.accounts import Accounts
from services.api.errors import InvalidCredentials
from services.api.lockout import Lockout
from services.api.passwords import LONGEST_PASSWORD, Passwords
from services.api.revocations import Revocations
from services.api.tokens import AccessToken, TokenSigner

log = get_logger(__name__)

_REFRESH_MARK = "mgr_"
_NAME = re.compile(r"[^\s/:\x00-\x1f]{1,64}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login or a refresh gives."""

    access: str
    refresh: str
    expires_in_s: float
    must_change_password: bool


class Logins:
    """``clock`` tells seconds since the epoch."""

    def __init__(
        self,
        bus: Bus,
        *,
        passwords: Passwords,
        lockout: Lockout,
        tokens: TokenSigner,
        revocations: Revocations,
        accounts: Accounts,
        refresh_lifetime_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._passwords = passwords
        self._lockout = lockout
        self._tokens = tokens
        self._revocations = revocations
        self._accounts = accounts
        self._refresh_lifetime_s = refresh_lifetime_s
        self._clock = clock

    async def log_in(self, name: str, password: str, address: str) -> Tokens:
        """Raises InvalidCredentials, LockedOut."""
        return await self._begin(await self._checked(name, password, address))

    async def refresh(self, refresh_token: str) -> Tokens:
        """The next pair; a token that is used twice ends its session. Raises RefreshInvalid."""
        following = _new_refresh_token()
        rotated = await self._bus.request(
            ROTATE_REFRESH,
            RotateRefresh(
                hash=hash_secret(refresh_token),
                next_hash=hash_secret(following),
                next_expires_at=self._refresh_expiry(),
            ),
        )
        if rotated.user.disabled:
            raise RefreshInvalid("The account may not be used.")
        return self._pair(rotated.user, rotated.family_id, following)

    async def log_out(self, token: AccessToken, *, everywhere: bool) -> None:
        """Ends this session, or all of the user's."""
        await self._revocations.revoke(token)
        if everywhere:
            await self._revocations.end_sessions(token.user_id)
        await self._bus.request(
            END_SESSION, EndSession(user_id=token.user_id, family_id=None if everywhere else token.family)
        )

    async def change_password(self, name: str, current: str, new: str, address: str) -> Tokens:
        """Sets a password of the user's own, ends all sessions and begins one. Raises InvalidCredentials, LockedOut."""
        user = await self._checked(name, current, address)
        hashed = await self._passwords.hash(new)
        changed = await self._bus.request(
            CHANGE_USER, ChangeUser(user_id=user.user_id, password_hash=hashed, must_change_password=False)
        )
        await self.end_sessions(user.user_id)
        return await self._begin(changed)

    async def end_sessions(self, user_id: str) -> None:
        """Ends what the user holds, after a change to the account; what is believed of it is dropped at once."""
        await self._accounts.forget(AccountChanged(user_id=user_id))
        await self._revocations.end_sessions(user_id)

    async def admit_again(self, request: AdmitAgain) -> Empty:
        """After a reset: nothing that was held or guessed before counts any more."""
        await self.end_sessions(request.user_id)
        await self._lockout.lift(request.name)
        return Empty()

    async def _checked(self, name: str, password: str, address: str) -> User:
        attempt = await self._lockout.begin(name, address)
        try:
            login = await self._find(name)
            matches = len(password) <= LONGEST_PASSWORD and await self._passwords.verify(login.password_hash, password)
        except (ServiceError, asyncio.CancelledError):
            attempt.abandoned()
            raise
        if not matches or login.user is None or login.user.disabled:
            await attempt.failed()
            log.info("login_refused")
            raise InvalidCredentials("Name and password don't go together.")
        await attempt.succeeded()
        return login.user

    async def _find(self, name: str) -> Login:
        if not _NAME.fullmatch(name):
            return Login(user=None, password_hash=None)
        return await self._bus.request(FIND_LOGIN, UserRef(name=name))

    async def _begin(self, user: User) -> Tokens:
        refresh, family = _new_refresh_token(), secrets.token_hex(16)
        await self._bus.request(
            SAVE_REFRESH,
            SaveRefresh(
                family_id=family,
                user_id=user.user_id,
                hash=hash_secret(refresh),
                expires_at=self._refresh_expiry(),
            ),
        )
        return self._pair(user, family, refresh)

    def _pair(self, user: User, family: str, refresh: str) -> Tokens:
        access = self._tokens.issue(user_id=user.user_id, role=user.role, family=family)
        return Tokens(access, refresh, self._tokens.lifetime_s, user.must_change_password)

    def _refresh_expiry(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC) + timedelta(seconds=self._refresh_lifetime_s)


def _new_refresh_token() -> str:
    return _REFRESH_MARK + secrets.token_urlsafe(32)
