"""How much each caller may ask for: token buckets in the process, saved every few seconds and never per request."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import NoReturn

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from libs.shared.bus.base import KeyValue
from libs.shared.telemetry import get_logger
from services.api.errors import RateLimited

_SAVED_KEY = "rates"
_MOST_CALLERS = 4096
_MINUTE_S = 60.0
_SAVED: TypeAdapter[dict[str, tuple[FiniteFloat | None, FiniteFloat | None, FiniteFloat]]] = TypeAdapter(
    dict[str, tuple[FiniteFloat | None, FiniteFloat | None, FiniteFloat]]
)
"""By caller: how many requests and tokens are left (None: all), and when (seconds since 1970)."""

log = get_logger(__name__)


class Bucket:
    """A token bucket that is full at ``per_minute`` and refills within a minute. ``level`` may be in debt."""

    __slots__ = ("at", "level", "per_minute")

    def __init__(self, per_minute: int, level: float, at: float) -> None:
        self.per_minute = per_minute
        self.level = level
        self.at = at

    def refill(self, now: float) -> None:
        gained = max(0.0, now - self.at) * self.per_minute / _MINUTE_S
        self.level = min(float(self.per_minute), self.level + gained)
        self.at = now

    def seconds_until(self, level: float) -> float:
        """How long it takes until ``level`` is reached."""
        return max(0.0, (level - self.level) * _MINUTE_S / self.per_minute)


@dataclass(slots=True)
class Allowance:
    """One caller's two buckets; None where that limit is off."""

    requests: Bucket | None
    tokens: Bucket | None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The draft standard's headers and OpenAI's."""
        found: list[tuple[bytes, bytes]] = []
        if self.requests is not None:
            limit, left = self.requests.per_minute, max(0, int(self.requests.level))
            reset_s = self.requests.seconds_until(limit)
            found += [
                (b"ratelimit-policy", b"%d;w=60" % limit),
                (b"ratelimit-limit", b"%d" % limit),
                (b"ratelimit-remaining", b"%d" % left),
                (b"ratelimit-reset", b"%d" % ceil(reset_s)),
                (b"x-ratelimit-limit-requests", b"%d" % limit),
                (b"x-ratelimit-remaining-requests", b"%d" % left),
                (b"x-ratelimit-reset-requests", b"%.3fs" % reset_s),
            ]
        if self.tokens is not None:
            limit = self.tokens.per_minute
            found += [
                (b"x-ratelimit-limit-tokens", b"%d" % limit),
                (b"x-ratelimit-remaining-tokens", b"%d" % max(0, int(self.tokens.level))),
                (b"x-ratelimit-reset-tokens", b"%.3fs" % self.tokens.seconds_until(limit)),
            ]
        return found


class RateLimits:
    """Allowances by caller (an API key's id, or a user's id), the least recently seen forgotten first.

    ``clock`` tells seconds since the epoch, so that saved levels mean something after a restart.
    """

    def __init__(self, *, requests_per_minute: int, tokens_per_minute: int, clock: Callable[[], float]) -> None:
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._clock = clock
        self._callers: OrderedDict[str, Allowance] = OrderedDict()
        self._changed = False

    def take(self, allowance: Allowance) -> None:
        """Takes one request. Raises RateLimited, with ``retry_after_s``."""
        requests, tokens = allowance.requests, allowance.tokens
        if tokens is not None and tokens.level <= 0:
            _refuse("tokens", tokens)
        if requests is not None:
            if requests.level < 1:
                _refuse("requests", requests)
            requests.level -= 1
        self._changed = True

    def spend_tokens(self, allowance: Allowance, count: int) -> None:
        """Charges what an answer really used; the caller may go into debt and waits until it is worked off."""
        if allowance.tokens is not None:
            allowance.tokens.level -= count
            self._changed = True

    def of(self, caller: str) -> Allowance:
        """The caller's allowance as it is now."""
        allowance = self._callers.get(caller)
        now = self._clock()
        if allowance is None:
            allowance = self._callers[caller] = self._new(None, None, now)
            if len(self._callers) > _MOST_CALLERS:
                self._callers.popitem(last=False)
            return allowance
        self._callers.move_to_end(caller)
        for bucket in (allowance.requests, allowance.tokens):
            if bucket is not None:
                bucket.refill(now)
        return allowance

    async def load(self, bucket: KeyValue) -> None:
        """Takes over what was saved before a restart; what can't be read counts as nothing saved."""
        saved = await bucket.get(_SAVED_KEY)
        try:
            levels = _SAVED.validate_json(saved) if saved else {}
        except ValidationError as error:
            log.warning("rate_limits_unread", errors=error.error_count())
            return
        for caller, (requests, tokens, at) in levels.items():
            if caller not in self._callers:
                self._callers[caller] = self._new(requests, tokens, at)

    async def save(self, bucket: KeyValue) -> None:
        """Writes all levels as one entry, when any has changed; full buckets aren't worth an entry."""
        if not self._changed:
            return
        self._changed = False
        now, levels = self._clock(), {}
        for caller, allowance in self._callers.items():
            requests, tokens = (_level(b, now) for b in (allowance.requests, allowance.tokens))
            if requests is not None or tokens is not None:
                levels[caller] = (requests, tokens, now)
        await bucket.put(_SAVED_KEY, json.dumps(levels, separators=(",", ":")).encode())

    def _new(self, requests: float | None, tokens: float | None, at: float) -> Allowance:
        return Allowance(_bucket(self._requests, requests, at), _bucket(self._tokens, tokens, at))


def _refuse(what: str, bucket: Bucket) -> NoReturn:
    wait_s = max(1, ceil(bucket.seconds_until(1)))
    raise RateLimited(f"Too many {what} this minute.", retry_after_s=wait_s, limit=what)


def _bucket(per_minute: int, level: float | None, at: float) -> Bucket | None:
    if not per_minute:
        return None
    return Bucket(per_minute, float(per_minute) if level is None else min(level, per_minute), at)


def _level(bucket: Bucket | None, now: float) -> float | None:
    """What is worth saving: None for a bucket that is off or full."""
    if bucket is None:
        return None
    bucket.refill(now)
    return round(bucket.level, 3) if bucket.level < bucket.per_minute else None
