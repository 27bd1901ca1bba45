"""Making password guessing slow: growing waits for an account and for an address, kept over a restart."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from libs.shared.bus.base import KeyValue
from services.api.errors import LockedOut

_FORGOTTEN_AFTER_S = 3600.0
_MOST_ENTRIES = 8192
_ADDRESS_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """How many wrong passwords in a row are allowed, and how the waits after them grow."""

    allowed: int
    first_s: float
    longest_s: float

    def delay_s(self, failures: int) -> float:
        """How long to wait: nothing within what is allowed, then doubling."""
        over = failures - self.allowed
        return 0.0 if over < 0 else min(self.longest_s, self.first_s * 2.0 ** min(over, 32))

    def times(self, factor: int) -> Patience:
        """The same waits after ``factor`` times as many failures."""
        return Patience(self.allowed * factor, self.first_s, self.longest_s)


@dataclass(slots=True)
class Failures:
    """Wrong passwords in a row, and when the last was tried (seconds since the epoch)."""

    count: int = 0
    last_at: float = 0.0

    def wait_s(self, patience: Patience, now: float) -> float:
        """Seconds until another try is allowed."""
        return max(0.0, self.last_at + patience.delay_s(self.count) - now)


class Lockout:
    """Counts an attempt before its password is checked, so that many at the same time count too.

    Names and addresses are kept as keyed hashes: ``secret`` keys them. ``clock`` tells seconds since the epoch.
    """

    def __init__(self, bucket: KeyValue, *, secret: bytes, patience: Patience, clock: Callable[[], float]) -> None:
        self._bucket = bucket
        self._secret = secret
        self._with_account = patience
        self._with_address = patience.times(_ADDRESS_FACTOR)
        self._clock = clock
        self._known: OrderedDict[str, Failures] = OrderedDict()

    async def begin(self, name: str, address: str) -> Attempt:
        """Counts an attempt. Raises LockedOut, with ``retry_after_s``."""
        account, place = self._key("account", name.casefold()), self._key("address", address)
        by_account, by_address = await self._failures(account), await self._failures(place)
        now = self._clock()
        wait_s = max(
            by_account.wait_s(self._with_account, now),
            by_address.wait_s(self._with_address, now),
        )
        if wait_s > 0:
            raise LockedOut("Too many wrong passwords: wait before trying again.", retry_after_s=ceil(wait_s))
        for failures in (by_account, by_address):
            failures.count += 1
            failures.last_at = now
        return Attempt(self, account, place)

    async def failed(self, *keys: str) -> None:
        for key in keys:
            failures = self._known[key] if key in self._known else Failures(1, self._clock())
            await self._bucket.put(key, json.dumps([failures.count, failures.last_at]).encode())

    async def succeeded(self, account: str, place: str) -> None:
        """The account starts anew; of the address, where others may be guessing, only this attempt is forgotten."""
        self._known.pop(account, None)
        await self._bucket.delete(account)
        self.abandoned(place)

    async def lift(self, name: str) -> None:
        """Wrong passwords for this account count for nothing any more; those of an address go on counting."""
        account = self._key("account", name.casefold())
        self._known.pop(account, None)
        await self._bucket.delete(account)

    def abandoned(self, *keys: str) -> None:
        """The password could not be checked: the attempt counts for nothing."""
        for key in keys:
            if key in self._known:
                self._known[key].count = max(0, self._known[key].count - 1)

    async def _failures(self, key: str) -> Failures:
        known = self._known.get(key)
        if known is None:
            saved = await self._bucket.get(key)
            known = self._known.setdefault(key, Failures(*json.loads(saved)) if saved else Failures())
            if len(self._known) > _MOST_ENTRIES:
                self._known.popitem(last=False)
        known.last_at = min(known.last_at, self._clock())  # a clock that was set back makes nobody wait for hours
        if self._clock() - known.last_at > max(_FORGOTTEN_AFTER_S, self._with_account.longest_s):
            known.count = 0
        return known

    def _key(self, kind: str, value: str) -> str:
        hashed = hmac.new(self._secret, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()
        return f"lock.{kind}.{hashed[:32]}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a password, counted as a failure until it succeeds."""

    lockout: Lockout
    account: str
    place: str

    async def failed(self) -> None:
        await self.lockout.failed(self.account, self.place)

    async def succeeded(self) -> None:
        await self.lockout.succeeded(self.account, self.place)

    def abandoned(self) -> None:
        self.lockout.abandoned(self.account, self.place)
