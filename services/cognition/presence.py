"""Whether a language model answers, as one word in the log when that changes, and not for each request."""

from __future__ import annotations

import asyncio

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.scheduling import LIST_MODELS
from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

SETTLING_S = 60.0
"""What a model may take to load before its absence is worth a warning."""
LOOK_EVERY_S = 2.0
LOOK_TIMEOUT_S = 0.8

log = get_logger(__name__)


class LanguageModel:
    """What is known of the language models: present until proven missing."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.is_missing = False

    def missing(self, code: str) -> None:
        """An answer had to do without."""
        if not self.is_missing:
            log.warning("no_language_model", code=code, effect="answers are quoted from memory")
        self.is_missing = True

    def present(self) -> None:
        """One answered."""
        if self.is_missing:
            log.info("language_model_back")
        self.is_missing = False

    async def look(self) -> DependencyHealth:
        """The scheduler's word. Never required: without a scheduler or a model, answers are quoted from memory."""
        try:
            found = await self._bus.request(LIST_MODELS, Empty(), timeout_s=LOOK_TIMEOUT_S)
        except ServiceError as error:
            return DependencyHealth(ok=False, detail=error.detail)
        if found.default_chat is None:
            return DependencyHealth(ok=False, detail="no language model; answers are quoted from memory")
        return DependencyHealth(ok=True, detail=found.default_chat)

    async def settle(self) -> None:
        """At the start: waits for a model to be there, and warns once if none comes."""
        try:
            async with asyncio.timeout(SETTLING_S):
                while True:
                    if (await self.look()).ok:
                        return
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            self.missing("no_model")
