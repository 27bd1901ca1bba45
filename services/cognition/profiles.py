"""What is known of a user's memory before a question is read: asked once, and again when the memory changed."""

from __future__ import annotations

from dataclasses import dataclass

from libs.shared.bus.base import Bus
from libs.shared.cache import TtlCache
from libs.shared.contracts.recall import READ_PROFILE, ReadProfile
from services.cognition.patience import ask
from services.cognition.question import Names

KEPT_S = 60.0
MOST_USERS = 2000


@dataclass(frozen=True)
class KnownProfile:
    """A profile, its names ready to be found in questions."""

    names: Names
    embedder: str | None
    """None: the memory has no vectors yet."""
    digested: bool = False
    """Whether digests are in force."""


class Profiles:
    """Bounded; dropped by user."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._kept: TtlCache[str, KnownProfile] = TtlCache("recall", max_entries=MOST_USERS, ttl_s=KEPT_S)

    async def of(self, user_id: str, *, patience_s: float) -> KnownProfile:
        """Raises what READ_PROFILE raises."""
        known = await self._kept.get(user_id, lambda: self._read(user_id, patience_s))
        if known.embedder is None:
            self._kept.discard(user_id)  # the first vectors may come any moment, and nobody tells of them
        return known

    async def _read(self, user_id: str, patience_s: float) -> KnownProfile:
        profile = await ask(self._bus, READ_PROFILE, ReadProfile(user_id=user_id), patience_s=patience_s)
        return KnownProfile(Names(profile.names), profile.embedder, profile.digests is not None)

    def changed(self, user_id: str) -> None:
        """The user's memory is another now."""
        self._kept.discard(user_id)
