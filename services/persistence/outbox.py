"""Publishing what was decided: after the commit, in order, and again after a crash."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from libs.shared.bus import Bus
from libs.shared.contracts.indexing import INDEX_REQUESTED, IndexRequested
from libs.shared.contracts.ledger import CHANGE_RECORDED, ChangeRecorded
from libs.shared.contracts.training import TRAINING_REQUESTED, TrainingRequested
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.persistence.postgres import Database
from services.persistence.repositories import work
from services.persistence.repositories.runs import TRAINING_KIND
from services.persistence.repositories.turns import INDEX_KIND
from services.persistence.repositories.work import WaitingEvent
from services.persistence.unindexed import Unindexed

log = get_logger(__name__)

CHANGE_KIND = "change_recorded"
_AT_ONCE = 64
_GATHER_S = 0.05
"""Events that are committed within this time are published together."""
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class Outbox:
    """Publishes the outbox's rows. A row goes once the stream has its message; repeats carry the same id."""

    database: Database
    bus: Bus
    unindexed: Unindexed = field(default_factory=Unindexed)
    """Hears of every commit that may have asked for something to be indexed."""
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: str | None = None
    """Why the last attempt failed; it is being repeated."""

    def wake(self) -> None:
        """Something was committed."""
        self.unindexed.committed()
        self._wanted.set()

    async def run(self) -> None:
        """Publishes until it is cancelled, beginning with what an earlier process left."""
        attempt = 0
        self._wanted.set()
        while True:
            await self._wanted.wait()
            await asyncio.sleep(_GATHER_S)
            self._wanted.clear()
            try:
                await self._publish_all()
                attempt, self.trouble = 0, None
            except ServiceError as error:
                if self.trouble is None:
                    log.warning("outbox_waits", reason=error.code)
                self.trouble = error.code
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
                self._wanted.set()

    async def _publish_all(self) -> None:
        while True:
            async with self.database.plainly() as driver:
                events = await work.oldest_events(driver, _AT_ONCE)
            for event in events:
                await self._publish(event)
            if events:
                async with self.database.plainly() as driver:
                    await work.remove_events(driver, [event.id for event in events])
            if len(events) < _AT_ONCE:
                return

    async def _publish(self, event: WaitingEvent) -> None:
        if event.kind == INDEX_KIND:
            request = IndexRequested.model_validate_json(event.payload)
            await self.bus.publish(INDEX_REQUESTED, request, message_id=event.message_id)
        elif event.kind == CHANGE_KIND:
            recorded = ChangeRecorded.model_validate_json(event.payload)
            await self.bus.publish(CHANGE_RECORDED, recorded, message_id=event.message_id)
        elif event.kind == TRAINING_KIND:
            wanted = TrainingRequested.model_validate_json(event.payload)
            await self.bus.publish(TRAINING_REQUESTED, wanted, message_id=event.message_id)
        else:
            log.error("outbox_kind_unknown", kind=event.kind)
