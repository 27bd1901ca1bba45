"""What caches of other sizes would have held: told to the optimizer as counts, by the service whose cache it is."""

from __future__ import annotations

from pydantic import Field

from libs.shared.contracts.base import MIB, Empty, Message, Principal, Rpc

MOST_HOURS = 14 * 24
MOST_SIZES = 64


class CacheHour(Message):
    """An hour in which something was asked of a cache; nothing says of whom it was."""

    uses: float = Field(ge=0)
    hits: tuple[float, ...] = Field(max_length=MOST_SIZES)
    """By size, how many of the uses it would have held; an estimate where there are more keys than are followed."""
    held_mib: float = Field(ge=0)
    """What everything together took at its end."""


class CacheCurve(Message):
    """Since its process began, of two weeks at the most. The same hours tell what every size would have held."""

    sizes_mib: tuple[int, ...] = Field(max_length=MOST_SIZES)
    """Ascending; none beyond the room."""
    hours: tuple[CacheHour, ...] = Field(default=(), max_length=MOST_HOURS)
    """The oldest first."""
    size_mib: int
    """In force."""
    room_mib: int
    """What it may take of this machine at the most."""
    miss_s: float | None = None
    """Seconds that bringing one in takes, on average over the last ones; None: none was."""


READ_INDEX_CACHE = Rpc(
    "mongars.v1.persistence.read_index_cache",
    Empty,
    CacheCurve,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.OPTIMIZER}),
    max_bytes=MIB,
)
"""Of users' indexes in memory."""
