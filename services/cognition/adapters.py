"""Which adapters a user may use, and which conversations a canary answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import ADAPTERS_CHANGED, LIST_ADAPTERS, AdaptersChanged, KeptAdapter
from libs.shared.contracts.base import Empty
from libs.shared.contracts.material import STANDING_CHANGED, StandingChanged
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import ServiceError
from libs.shared.roles import role_named
from libs.shared.shares import place
from libs.shared.telemetry import get_logger

REREAD_S = 30.0
RETRY_S = 1.0

log = get_logger(__name__)


class OwnedAdapters:
    """Whose the restricted adapters are, as of now. As long as that isn't known, nobody may use one."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._owners: dict[str, frozenset[str] | None] = {}
        """None: all of its owners let everybody use it."""
        self._news = asyncio.Event()

    def may_use(self, user_id: str) -> tuple[str, ...]:
        """Of those that not everybody may, or that its owners could take back at any time."""
        return tuple(sorted(name for name, owners in self._owners.items() if owners is None or user_id in owners))

    def refused(self, adapter: str, user_id: str) -> bool:
        """Whether it is known that this user may not use it."""
        owners = self._owners.get(adapter)
        return owners is not None and user_id not in owners

    async def follow(self) -> None:
        """Keeps up, until cancelled."""
        heard = False
        while True:
            wait_s = RETRY_S
            try:
                if not heard:
                    await self._bus.subscribe(ADAPTERS_CHANGED, self._hear)
                    await self._bus.subscribe(STANDING_CHANGED, self._hear)
                    heard = True
                self._news.clear()
                await self.look()
                wait_s = REREAD_S
            except ServiceError as error:
                log.debug("adapters_unread", code=error.code)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def look(self) -> None:
        """Raises ServiceError."""
        told = await self._bus.request(LIST_ADAPTERS, Empty())
        self._owners = {kept.name: _now(kept) for kept in told.adapters if _of_people(kept)}

    async def _hear(self, _: AdaptersChanged | StandingChanged) -> None:
        self._news.set()


def _of_people(kept: KeptAdapter) -> bool:
    return kept.owners is not None or (kept.manifest is not None and kept.manifest.owners is not None)


def _now(kept: KeptAdapter) -> frozenset[str] | None:
    return frozenset(kept.owners) if kept.owners is not None else None


def canary_for(settings: RuntimeSettings, asked: str | None, conversation: str) -> str | None:
    """The model with its adapter that is tried out on this conversation; None: none. Pure.

    A conversation that has one keeps it: the share that it needs follows from its id.
    """
    role = role_named(asked) if asked else "chat"
    if role == "chat" or (role == "code" and settings.code_model is None and settings.code_canary is None):
        canary = settings.chat_canary
    else:
        canary = settings.code_canary if role == "code" else None
    return canary.model if canary is not None and place(canary.model, conversation) < canary.share else None
