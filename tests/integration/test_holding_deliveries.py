"""What is delivered again while a service holds it is not handled again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libs.shared.bus.base import Delivery
from libs.shared.bus.consumer import PullConsumer, PulledMessage
from libs.shared.bus.nats import NatsBus
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import Principal
from libs.shared.contracts.indexing import INDEX_REQUESTED, IndexRequested
from tests.support.broker import TestBroker
from tests.support.deliveries import Deliveries, declared, deliveries

LIMIT_S = 60
COGNITION = Principal.COGNITION
INDEX = INDEX_REQUESTED.consumers[0]
SOON_S = 0.3
"""Until the broker delivers again what nobody speaks of."""
JOBS = 6


@dataclass
class Holding:
    """Handles each delivery until it is told to go on."""

    bus: NatsBus
    begun: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, delivery: Delivery[IndexRequested]) -> None:
        self.begun.append(delivery.message_id)
        await self.go_on.wait()

    async def until(self, true: Callable[[Deliveries], bool]) -> Deliveries:
        async with asyncio.timeout(LIMIT_S):
            while not true(seen := await deliveries(self.bus, INDEX_REQUESTED)):  # noqa: ASYNC110 - the broker knows
                await asyncio.sleep(0.02)
        return seen


async def check_what_is_delivered_again_is_handled_once(folder: Path) -> None:
    with declared(INDEX, at_once=3 * JOBS, max_ack_pending=JOBS, ack_wait_s=SOON_S):
        async with TestBroker(folder) as broker:
            publisher, held = await broker.connect(Principal.PERSISTENCE), Holding(await broker.connect(COGNITION))
            for number in range(JOBS):
                job = IndexRequested(user_id="u", message_ids=(f"m{number}",), job_id=f"job-{number}")
                await publisher.publish(INDEX_REQUESTED, job, message_id=f"event-{number}")
            await held.bus.consume(INDEX_REQUESTED, INDEX, held.handle)
            await held.until(lambda seen: seen.made >= 3 * JOBS)
            begun = sorted(held.begun)
            held.go_on.set()
            await held.until(lambda seen: seen.unanswered == seen.left == 0)
    assert begun == [f"event-{number}" for number in range(JOBS)]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process gives no sign of life, so that the broker delivers again."""

    async def never(_: PullConsumer[IndexRequested]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(PullConsumer, "_keep_claimed", never)


@pytest.mark.usefixtures("silent")
async def test_what_is_delivered_again_while_it_is_held_is_handled_once(tmp_path: Path) -> None:
    await check_what_is_delivered_again_is_handled_once(tmp_path)


@pytest.mark.usefixtures("silent")
async def test_handling_it_again_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = PulledMessage.__init__

    def unknown(self: PulledMessage, incoming: Incoming) -> None:
        made(self, incoming)
        self.key = (self.sequence, str(self.attempt))

    monkeypatch.setattr(PulledMessage, "__init__", unknown)
    with pytest.raises(AssertionError):
        await check_what_is_delivered_again_is_handled_once(tmp_path)
