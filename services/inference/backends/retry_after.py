"""Reads ``Retry-After``: seconds, or a date by the server's own clock. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 3600.0
"""A server that asks for more is tried again all the same."""


def seconds_to_wait(retry_after: str | None, date: str | None, now: datetime) -> float | None:
    """RFC 9110, section 10.2.3: digits are seconds, anything else is an HTTP date. None where it says neither.

    A date is held against the reply's own ``Date`` where there is one, so that a server whose clock is wrong is
    waited for as long as it means; else against ``now``.
    """
    told = (retry_after or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", told):
        return min(LONGEST_S, float(told))
    until = _moment(told)
    if until is None:
        return None
    since = _moment(date or "") or now
    return min(LONGEST_S, max(0.0, (until - since).total_seconds()))


def _moment(text: str) -> datetime | None:
    """An HTTP date, in any of its three forms."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
