"""Reading what nights made of recalled memories; without it memories stand as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from libs.shared.bus.base import Bus
from libs.shared.contracts.digests import READ_DIGESTS, Digest, ReadDigests
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.cognition.selection import Hit

TIMEOUT_S = 1.0
"""An answer does better without digests than late."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Told:
    """Digests by memory, of the generation in force."""

    generation: int
    embedder: str | None
    digests: dict[str, Digest] = field(default_factory=dict)


async def read_digests(bus: Bus, user_id: str, hits: Sequence[Hit]) -> Told | None:
    """Those of these memories; None where none are in force, or they can't be read."""
    request = ReadDigests(user_id=user_id, message_ids=tuple(hit.item.id for hit in hits))
    try:
        found = await bus.request(READ_DIGESTS, request, timeout_s=TIMEOUT_S)
    except ServiceError as error:
        log.info("digests_unread", code=error.code)
        return None
    if found.generation is None:
        return None
    digests = {digest.message_id: digest for digest in found.digests}
    return Told(found.generation.number, found.generation.embedder, digests)


def with_told(hits: Sequence[Hit], told: Told | None) -> tuple[Hit, ...]:
    """The hits with what their digests tell; one that tells nothing stands as it was said."""
    if told is None:
        return tuple(hits)
    return tuple(
        replace(hit, told=" ".join(told.digests[hit.item.id].sentences)) if hit.item.id in told.digests else hit
        for hit in hits
    )
