"""What a service holds for long is not delivered again, or at least not handled again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libs.shared.bus.base import Delivery
from libs.shared.bus.consumer import PullConsumer
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.indexing import INDEX_REQUESTED, IndexRequested
from tests.support.broker import TestBroker
from tests.support.deliveries import Deliveries, declared, deliveries

LIMIT_S = 60
COGNITION = Principal.COGNITION
INDEX = INDEX_REQUESTED.consumers[0]
LONG_S, SHORT_S = 3.0, 0.3
"""Until a broker delivers again what nobody speaks of: longer than a busy machine keeps a process waiting, and not."""
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


@asynccontextmanager
async def holding(folder: Path, ack_wait_s: float, at_once: int) -> AsyncIterator[Holding]:
    """All jobs are with the process: so many at most are begun, the others wait for their turn."""
    with declared(INDEX, at_once=at_once, max_ack_pending=JOBS, ack_wait_s=ack_wait_s):
        async with TestBroker(folder) as broker:
            publisher, made = await broker.connect(Principal.PERSISTENCE), Holding(await broker.connect(COGNITION))
            for number in range(JOBS):
                job = IndexRequested(user_id="u", message_ids=(f"m{number}",), job_id=f"job-{number}")
                await publisher.publish(INDEX_REQUESTED, job, message_id=f"event-{number}")
            await made.bus.consume(INDEX_REQUESTED, INDEX, made.handle)
            await made.until(lambda seen: seen.unanswered == JOBS)
            yield made
            made.go_on.set()


async def check_what_is_held_is_delivered_once(folder: Path, ack_wait_s: float) -> None:
    async with holding(folder, ack_wait_s, at_once=2) as held:
        await asyncio.sleep(1.5 * ack_wait_s)
        assert len(held.begun) == 2, "the others wait"
        held.go_on.set()
        seen = await held.until(lambda seen: seen.unanswered == seen.left == 0)
        assert seen.made == JOBS, "delivered again"
        assert len(held.begun) == JOBS


async def test_what_is_held_is_delivered_once(tmp_path: Path) -> None:
    await check_what_is_held_is_delivered_once(tmp_path, LONG_S)


async def test_what_the_broker_is_not_told_of_would_be_noticed(tmp_path: Path, silent: None) -> None:
    with pytest.raises(AssertionError, match="delivered again"):
        await check_what_is_held_is_delivered_once(tmp_path, SHORT_S)


async def test_what_is_delivered_again_while_it_is_held_is_handled_once(tmp_path: Path, silent: None) -> None:
    async with holding(tmp_path, SHORT_S, at_once=3 * JOBS) as held:
        await held.until(lambda seen: seen.made >= 3 * JOBS)
        assert sorted(held.begun) == [f"event-{number}" for number in range(JOBS)]
        held.go_on.set()
        await held.until(lambda seen: seen.unanswered == seen.left == 0)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process gives no sign of life."""

    async def never(_: PullConsumer[IndexRequested]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(PullConsumer, "_keep_claimed", never)
