"""Access tokens that were ended before their time: one look-up a token, then told by the bucket's changes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from libs.shared.bus.base import KeyValue
from services.api.errors import InvalidToken
from services.api.tokens import AccessToken

_MOST_ENTRIES = 8192
_REVOKED = "revoked."
_ENDED = "ended."


class Revocations:
    """``revoked.<jti>`` ends one token, ``ended.<user>`` every token issued to the user before that time.

    What was looked up is believed for ``fresh_s``, since a change may be missed while the broker is away.
    ``clock`` tells seconds since the epoch, ``steady`` seconds that nobody sets.
    """

    def __init__(
        self, bucket: KeyValue, *, fresh_s: float, clock: Callable[[], float], steady: Callable[[], float]
    ) -> None:
        self._steady = steady
        self._bucket = bucket
        self._fresh_s = fresh_s
        self._clock = clock
        self._known: OrderedDict[str, tuple[bytes | None, float]] = OrderedDict()

    async def start(self) -> None:
        await self._bucket.watch(self._changed)

    async def check(self, token: AccessToken) -> None:
        """Raises InvalidToken when the token was revoked, Unavailable when that can't be known."""
        revoked, ended = self._believed(token) or await self._asked(token)
        if revoked is not None or (ended is not None and token.issued_at < float(ended)):
            raise InvalidToken("The session was ended: log in again.")

    async def revoke(self, token: AccessToken) -> None:
        await self._put(_REVOKED + token.jti, b"1")

    async def end_sessions(self, user_id: str) -> None:
        """Ends every token that the user holds now."""
        await self._put(_ENDED + user_id, repr(self._clock()).encode())

    def _believed(self, token: AccessToken) -> tuple[bytes | None, bytes | None] | None:
        revoked = self._known.get(_REVOKED + token.jti)
        ended = self._known.get(_ENDED + token.user_id)
        oldest = self._steady() - self._fresh_s
        if revoked is None or ended is None or revoked[1] < oldest or ended[1] < oldest:
            return None
        return revoked[0], ended[0]

    async def _asked(self, token: AccessToken) -> tuple[bytes | None, bytes | None]:
        return await asyncio.gather(self._value(_REVOKED + token.jti), self._value(_ENDED + token.user_id))

    async def _value(self, name: str) -> bytes | None:
        before = self._known.get(name)
        value = await self._bucket.get(name)
        now_known = self._known.get(name)
        if now_known is not None and now_known is not before:
            return now_known[0]  # a change was told while we asked: what was read may be older
        self._remember(name, value)
        return value

    async def _put(self, name: str, value: bytes) -> None:
        self._remember(name, value)
        await self._bucket.put(name, value)

    async def _changed(self, name: str, value: bytes | None) -> None:
        if name.startswith((_REVOKED, _ENDED)):
            self._remember(name, value)

    def _remember(self, name: str, value: bytes | None) -> None:
        self._known[name] = (value, self._steady())
        self._known.move_to_end(name)
        if len(self._known) > _MOST_ENTRIES:
            self._known.popitem(last=False)
