"""The runtime settings in force in one service: defaults until persistence has said otherwise, then as they change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from libs.shared.bus.base import Bus
from libs.shared.contracts.ledger import (
    READ_SETTINGS,
    SETTINGS,
    SETTINGS_KEY,
    InForce,
    ReadSettings,
    Trial,
    heard_in_force,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings, Trying, trying
from libs.shared.contracts.watching import Arm
from libs.shared.errors import ServiceError
from libs.shared.shares import arm_of
from libs.shared.telemetry import get_logger

REREAD_S = 30.0
"""A watch misses what changes while the broker is away, so the key is read again this often."""
RETRY_S = 1.0

log = get_logger(__name__)


class ForConversation(NamedTuple):
    """The settings of one conversation, and on which side of a trial it is; None: nothing is tried out."""

    settings: RuntimeSettings
    arm: Arm | None = None


@dataclass(frozen=True)
class InUse:
    """The settings in force, and those of the conversations that try something out."""

    settings: RuntimeSettings
    trial: Trial | None = None
    tried: RuntimeSettings | None = None
    """None: nothing is."""

    def for_conversation(self, conversation: str) -> ForConversation:
        """Which of them the conversation has: the same as long as the trial lasts, and its share doesn't shrink."""
        if self.trial is None or self.tried is None:
            return ForConversation(self.settings)
        arm = arm_of(self.trial, conversation)
        return ForConversation(self.tried if arm.tried else self.settings, arm)


def in_use(settings: RuntimeSettings, trial: Trial | None, now: datetime) -> InUse:
    """A trial whose time is over, of what can't be tried by conversation, or of a value that this release doesn't take,
    is none. Pure."""
    if trial is None or Trying.BY_CONVERSATION not in trying(trial.key):
        return InUse(settings)
    if trial.until is not None and now >= trial.until:
        return InUse(settings)
    try:
        fields = settings.model_dump(mode="json") | {trial.key: trial.value}
        tried = RuntimeSettings.model_validate_json(json.dumps(fields))
    except ValidationError:
        return InUse(settings)
    return InUse(settings, trial, tried)


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
        self.in_use = InUse(RuntimeSettings())

    @property
    def current(self) -> RuntimeSettings:
        """What holds wherever nothing is tried out."""
        return self.in_use.settings

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
            read = await self._bus.request(READ_SETTINGS, ReadSettings())
            self._take(InForce(settings=read.settings, trial=read.trial))
        else:
            await self._changed(SETTINGS_KEY, await self._bucket.get(SETTINGS_KEY))

    async def _changed(self, key: str, value: bytes | None) -> None:
        if key != SETTINGS_KEY or value is None:
            return
        try:
            heard = heard_in_force(value)
        except ValidationError as error:
            log.warning("settings_invalid", errors=error.error_count())
        else:
            self._take(heard)

    def _take(self, heard: InForce) -> None:
        self.in_use = in_use(heard.settings, heard.trial, datetime.now(UTC))
        self._told(heard.settings)
