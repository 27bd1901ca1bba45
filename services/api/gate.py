"""Where every request with a credential passes: authenticated, permitted and counted before its endpoint runs."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Scope

from libs.shared.credentials import API_KEY_MARK
from services.api.access import Access, Caller, key_caller, permit, session_caller
from services.api.accounts import Accounts
from services.api.errors import InvalidApiKey, InvalidToken, NotAuthenticated
from services.api.rate_limits import RateLimits
from services.api.revocations import Revocations
from services.api.tokens import TokenSigner

CALLER = "mongars.caller"
"""Key of the Caller in an ASGI scope."""
ALLOWANCE = "mongars.allowance"
"""Key of the caller's Allowance in an ASGI scope."""
_LONGEST_CREDENTIAL = 4096


class Gate:
    """``clock`` tells seconds since the epoch."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        tokens: TokenSigner,
        revocations: Revocations,
        limits: RateLimits,
        clock: Callable[[], float],
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._revocations = revocations
        self._limits = limits
        self._clock = clock

    async def admit(self, scope: Scope, access: Access) -> None:
        """Puts the Caller and the Allowance into ``scope``.

        Raises NotAuthenticated, InvalidApiKey, InvalidToken, NotAllowed and its kin, RateLimited, Unavailable.
        """
        if access is Access.OPEN:
            return
        caller = await self._caller(_credential(scope))
        permit(caller, access)
        allowance = scope[ALLOWANCE] = self._limits.of(caller.limited_as)
        self._limits.take(allowance)
        scope[CALLER] = caller

    async def again(self, scope: Scope, access: Access) -> Caller:
        """The caller of a request that goes on, as it is now; nothing is counted. Raises as ``admit`` but for that."""
        caller = await self._caller(_credential(scope))
        permit(caller, access)
        return caller

    async def _caller(self, credential: str) -> Caller:
        if credential.startswith(API_KEY_MARK):
            return await self._by_key(credential)
        if credential.count(".") == 2:
            return await self._by_token(credential)
        raise InvalidApiKey("This is neither an API key nor an access token of this installation.")

    async def _by_key(self, secret: str) -> Caller:
        holder = await self._accounts.key(secret)
        if holder is None or holder.disabled:
            raise InvalidApiKey("There is no such API key: it may have been revoked.")
        if holder.expires_at is not None and holder.expires_at.timestamp() <= self._clock():
            raise InvalidApiKey("The API key has expired.")
        return key_caller(holder)

    async def _by_token(self, encoded: str) -> Caller:
        token = self._tokens.verify(encoded)
        await self._revocations.check(token)
        user = await self._accounts.user(token.user_id)
        if user is None or user.disabled:
            raise InvalidToken("The account may not be used.")
        return session_caller(user, token)


def _credential(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, credential = value.partition(b" ")
            if kind.lower() != b"bearer" or not credential or len(credential) > _LONGEST_CREDENTIAL:
                break
            return str(credential.strip().decode("latin-1"))
    raise NotAuthenticated("Send an API key or an access token: Authorization: Bearer …")
