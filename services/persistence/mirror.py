"""Telling every service of the settings in force: a key-value entry that follows the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from libs.shared.bus import Bus
from libs.shared.contracts.ledger import SETTINGS, SETTINGS_KEY, InForce, told_in_force
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.persistence.ledger import settings_from
from services.persistence.postgres import Database
from services.persistence.repositories import ledger, steps

log = get_logger(__name__)

_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class SettingsMirror:
    """Writes the entry at start and after each change; repeats until it stands."""

    database: Database
    bus: Bus
    obeyed: Callable[[RuntimeSettings], None] = lambda _: None
    """By this process itself: told before the others hear of it."""
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Settings were committed."""
        self._wanted.set()

    async def write(self) -> None:
        """Writes the entry from the database. Raises ServiceError."""
        async with self.database.transaction() as session:
            rows = await ledger.read_settings(session)
            trial = await steps.trial_now(session)
        settings, refused = settings_from({row.key: row.value for row in rows})
        if refused:
            log.warning("settings_refused", keys=list(refused))
        self.obeyed(settings)
        told = InForce(settings=settings, trial=trial, last_change=rows[0].change_id if rows else None)
        await self.bus.bucket(SETTINGS).put(SETTINGS_KEY, told_in_force(told))

    async def run(self) -> None:
        """Follows changes until it is cancelled."""
        attempt = 0
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.write()
                attempt = 0
            except ServiceError as error:
                if attempt == 0:
                    log.warning("settings_wait", reason=error.code)
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
                self._wanted.set()
