"""When a scheduled backup is due: values in, values out, and no library, since the caretaker asks every minute."""

from __future__ import annotations

from datetime import datetime, time, timedelta


def latest_time(daily: str, now: datetime) -> datetime:
    """The newest moment at ``HH:MM`` that isn't later than ``now``, which is in this machine's zone."""
    at = datetime.combine(now.date(), time.fromisoformat(daily), now.tzinfo)
    return at if at <= now else at - timedelta(days=1)


def is_due(daily: str, attempted_at: datetime, now: datetime) -> bool:
    """Whether the newest time of day that has passed saw no attempt: what was missed while the installation was off is
    made once, at the next start. An attempt in the future, by a clock that was set back since, counts for nothing.
    """
    at = latest_time(daily, now)
    return at > attempted_at or attempted_at > now + timedelta(days=1)
