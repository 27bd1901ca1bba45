"""Reading what may be replayed, a page at a time, and keeping to what may still be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from libs.shared.bus.base import Bus
from libs.shared.contracts.replay import (
    MOST_CHECKED,
    REPLAY_ASKED,
    STILL_ALLOWED,
    Evidence,
    ReplayAsked,
    StillAllowed,
)

MOST_QUESTIONS = 2000
"""Of a night: the newest conversations come last, and are as good as any others."""


async def read_evidence(
    bus: Bus,
    clear: Callable[[], Awaitable[None]],
    *,
    since: datetime | None = None,
    most: int = MOST_QUESTIONS,
) -> list[Evidence]:
    """At most so many questions; ``clear`` returns once nobody waits for an answer. Raises ServiceError."""
    found: list[Evidence] = []
    cursor: str | None = None
    while len(found) < most:
        await clear()
        page = await bus.request(REPLAY_ASKED, ReplayAsked(cursor=cursor, since=since))
        found += page.evidence
        cursor = page.next_cursor
        if cursor is None:
            break
    return found[:most]


async def still_allowed(bus: Bus, evidence: Sequence[Evidence]) -> list[Evidence]:
    """Those that nobody withdrew or forgot meanwhile. Raises ServiceError."""
    kept: set[str] = set()
    ids = [one.turn_id for one in evidence]
    for start in range(0, len(ids), MOST_CHECKED):
        asked = StillAllowed(turn_ids=tuple(ids[start : start + MOST_CHECKED]))
        kept |= set((await bus.request(STILL_ALLOWED, asked)).turn_ids)
    return [one for one in evidence if one.turn_id in kept]
