"""Replaying where requests ran under other weights: the optimizer asks the scheduler, which alone has its own code."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc

MOST_WAYS = 32
MOST_BLOCKS = 400


class Way(Message):
    """How requests are placed."""

    policy: Literal["expected_completion", "least_in_flight", "power_of_two"]
    others: float = Field(ge=0, le=100)


class ReplayPlacements(Message):
    """Asks what the requests of late would have waited, placed in each of these ways; the first is in force."""

    ways: tuple[Way, ...] = Field(min_length=1, max_length=MOST_WAYS)


class WayBlocks(Message):
    """Of one way, block by block."""

    total_s: tuple[float, ...]
    """Seconds from each request's coming to its answer's end, summed."""
    late: tuple[int, ...]
    """Requests that took longer than the slowest twentieth did in the way in force."""
    p95_s: float


class PlacementsReplayed(Message):
    """Blocks of requests in the order of their coming; none where too few came, or there is one node alone."""

    requests: tuple[int, ...] = Field(default=(), max_length=MOST_BLOCKS)
    """Of each block."""
    ways: tuple[WayBlocks, ...] = ()
    """As they were asked for."""
    nodes: int = 0
    reason: str = ""
    """Why nothing was replayed."""


REPLAY_PLACEMENTS = Rpc(
    "mongars.v1.scheduler.replay_placements",
    ReplayPlacements,
    PlacementsReplayed,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.OPTIMIZER}),
    max_bytes=MIB,
    timeout_s=180.0,
)
"""In a process of its own that stands still while requests are placed. One at a time."""
