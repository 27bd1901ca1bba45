"""READ_INDEX_CACHE: what other sizes of the indexes' memory would have held."""

from __future__ import annotations

from libs.shared.contracts.base import MIB, Empty
from libs.shared.contracts.caching import CacheCurve
from services.persistence.parts import Parts


async def read_index_cache(_: Empty, parts: Parts) -> CacheCurve:
    """Counts of this process, since it began."""
    curve, size_mib = parts.indexes.curve, parts.indexes.budget_bytes // MIB
    if curve is None:
        return CacheCurve(sizes_mib=(), size_mib=size_mib, room_mib=size_mib)
    sizes = tuple(curve.sizes_mib)
    return CacheCurve(sizes_mib=sizes, hours=curve.hours, size_mib=size_mib, room_mib=sizes[-1], miss_s=curve.miss_s)
