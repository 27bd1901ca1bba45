"""Reading what nights made of recalled memories; without it memories stand as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from libs.shared.bus.base import Bus
from libs.shared.contracts.digests import READ_DIGESTS, Digest, ReadDigests
from libs.shared.contracts.memory import MemoryKind
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from libs.shared.text import language
from services.cognition.retelling import other_days, told_again
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
    """The hits (best first) with what their digests tell; one that tells nothing stands as it was said.

    What a better one told stands there alone, with the days of the others; one that tells nothing else is left out.
    """
    if told is None:
        return tuple(hits)
    days = _days(hits, told)
    seen: set[bytes] = set()
    kept = [_with_told(hit, told.digests.get(hit.item.id), days, seen) for hit in hits]
    return tuple(hit for hit in kept if hit is not None)


def _days(hits: Sequence[Hit], told: Told) -> dict[bytes, list[date]]:
    """When each thing was told, by its key."""
    found: dict[bytes, list[date]] = {}
    for hit in (hit for hit in hits if hit.until is None):
        digest = told.digests.get(hit.item.id, Digest(message_id=hit.item.id))
        for place in range(len(digest.sentences)):
            found.setdefault(digest.key_of(place), []).append(hit.item.at.date())
    return found


def _with_told(hit: Hit, digest: Digest | None, days: dict[bytes, list[date]], seen: set[bytes]) -> Hit | None:
    """None: better ones told all of it."""
    if digest is None or not digest.sentences:
        return hit
    if hit.until is not None:  # the fence says until when it held
        return replace(hit, told=" ".join(digest.sentences))
    lines = []
    for place, sentence in enumerate(digest.sentences):
        key = digest.key_of(place)
        if key and key in seen:
            continue
        seen.add(key)
        others = other_days(hit.item.at.date(), days[key]) if key and hit.item.kind is not MemoryKind.PASSAGE else ()
        lines.append(told_again(sentence, others, language(sentence)))
    return replace(hit, told=" ".join(lines)) if lines else None
