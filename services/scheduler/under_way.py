"""The requests under way at a replica, one by one, as their placements and their ends are told. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

DISPATCHES = 4096
"""Dispatches since a snapshot that are counted, a replica; a longer queue is endless to every policy."""
ENDS_KEPT = 64
"""Ends whose times are remembered, a replica."""
TicketKey = tuple[str, int]


class Sent(NamedTuple):
    """A request placed on a replica: by which scheduler, its ticket's number there, when, and its tokens."""

    scheduler: str
    number: int
    at: float
    prompt_tokens: int
    answer_tokens: float
    adapter: str | None = None
    """With which it is to be answered, as ``model:adapter``."""
    loading_s: float = 0.0
    """For which the replica first loads that: none where it was in memory, or on its way already."""


@dataclass(slots=True, eq=False)
class Request:
    """One that has not ended as far as is known. ``begun`` counts once it has come to a slot."""

    sent: Sent
    begun: float


@dataclass(slots=True, eq=False)
class UnderWay:
    """In the order of their placement, which is taken for the order in which the replica begins them."""

    requests: dict[TicketKey, Request] = field(default_factory=dict)
    complete: bool = False
    """Whether the replica has no others, as far as its telemetry and the ends told since show."""
    outdated: bool = False
    """Whether an end was told that its telemetry may not show."""
    _ends: deque[tuple[float, TicketKey]] = field(default_factory=lambda: deque(maxlen=ENDS_KEPT))

    def begin(self, sent: Sent) -> None:
        """One was placed."""
        if len(self.requests) >= DISPATCHES:
            self.complete = False
            return
        self.requests[sent.scheduler, sent.number] = Request(sent, sent.at)

    def end(self, key: TicketKey, now: float, slots: int) -> bool:
        """One has ended, and the first that waited has begun. False where it isn't known."""
        if key not in self.requests:
            return False
        self._ends.append((now, key))
        place = list(self.requests).index(key)
        del self.requests[key]
        if place < slots and len(self.requests) >= slots:
            next(islice(self.requests.values(), slots - 1, None)).begun = now
        return True

    def loading(self, at: float, slots: int) -> Iterator[tuple[Sent, float]]:
        """Those that load an adapter, each with the seconds that are left of it at ``at``."""
        for place, one in enumerate(self.requests.values()):
            if one.sent.loading_s:
                passed_s = max(0.0, at - one.begun) if place < slots else 0.0
                yield one.sent, max(0.0, one.sent.loading_s - passed_s)

    def drop(self, key: TicketKey) -> None:
        """One never came to the replica."""
        self.requests.pop(key, None)

    def agree(self, seen: Mapping[str, int], load: int, taken_at: float, slots: int) -> None:
        """Compares with telemetry that was taken at ``taken_at`` or later: of ``load`` requests, with the tickets
        ``seen`` (scheduler → highest number) counted. What it no longer has must have ended, the earliest first."""
        counted = [key for key in self.requests if key[1] <= seen.get(key[0], 0)]
        for key in counted[: max(0, len(counted) - load)]:
            self.end(key, taken_at, slots)
        ended_since = sum(at >= taken_at and key[1] <= seen.get(key[0], 0) for at, key in self._ends)
        self.complete = load <= len(counted) + ended_since
        self.outdated = ended_since > 0
