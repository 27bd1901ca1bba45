"""The runtime settings in force in one service: defaults until persistence has said otherwise, then as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic import ValidationError

from libs.shared.bus.base import Bus
from libs.shared.contracts.ledger import READ_SETTINGS, SETTINGS, SETTINGS_KEY, ReadSettings
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

REREAD_S = 30.0
"""A watch misses what changes while the broker is away, so the key is read again this often."""
RETRY_S = 1.0

log = get_logger(__name__)


class SettingsInForce:
    """``current`` is always whole and valid: a value that can't be read leaves the one before in force."""

    def __init__(
        self, bus: Bus, changed: Callable[[RuntimeSettings], None] = lambda settings: None, *, asks: bool = False
    ) -> None:
        """``changed`` is given the settings each time that they were read; ``asks``: from persistence, by who may hear
        the bucket's changes and not read it."""
        self._bus = bus
        self._asks = asks
        self._bucket = bus.bucket(SETTINGS)
        self._told = changed
        self.current = RuntimeSettings()

    async def follow(self) -> None:
        """Watches until cancelled."""
        watching = False
        while True:
            wait_s = RETRY_S
            try:
                if not watching:
                    await self._bucket.watch(self._changed)
                    watching = True
                await self._read()
                wait_s = REREAD_S
            except ServiceError as error:
                log.info("settings_unread", code=error.code)
            await asyncio.sleep(wait_s)

    async def _read(self) -> None:
        """Raises ServiceError."""
        if self._asks:
            self._take((await self._bus.request(READ_SETTINGS, ReadSettings())).settings)
        else:
            await self._changed(SETTINGS_KEY, await self._bucket.get(SETTINGS_KEY))

    async def _changed(self, key: str, value: bytes | None) -> None:
        if key != SETTINGS_KEY or value is None:
            return
        try:
            settings = RuntimeSettings.model_validate_json(value)
        except ValidationError as error:
            log.warning("settings_invalid", errors=error.error_count())
        else:
            self._take(settings)

    def _take(self, settings: RuntimeSettings) -> None:
        self.current = settings
        self._told(settings)
