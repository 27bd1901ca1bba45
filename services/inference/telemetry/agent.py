"""Publishes the node's telemetry, each second and at once on what matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.inference import REPLICA_METRICS, SetDraining
from libs.shared.contracts.scheduling import Drained
from libs.shared.contracts.telemetry import NODE, ReplicaTelemetry
from libs.shared.errors import ServiceError
from libs.shared.hardware import Sample, Sensors
from libs.shared.telemetry import get_logger
from services.inference.telemetry.node import Facts, Replicas, describe
from services.inference.telemetry.pulse import EVERY_S, Pulse

log = get_logger(__name__)


class Local(Protocol):
    """A replica in this process, which is simply asked."""

    def snapshot(self) -> ReplicaTelemetry: ...


class NodeAgent:
    """Knows every replica of the node: those here by asking them, those of Ray by what they publish."""

    def __init__(self, facts: Facts, sensors: Sensors, bus: Bus, degraded: Callable[[], tuple[str, ...]]) -> None:
        self.runtime = "inline"
        self.draining = False
        self._facts = facts
        self._sensors = sensors
        self._bus = bus
        self._degraded = degraded
        self._local: list[Local] = []
        self._elsewhere = Replicas(facts.node_id)
        self._pulse = Pulse()
        self._sample = sensors.sample()
        self._sampled_at = monotonic()
        self._sequence = 0

    def changed(self, urgent: bool) -> None:
        """A local replica's counts changed."""
        self._pulse.nudge(urgent)

    def add(self, replica: Local) -> None:
        """From now on the node tells of this replica."""
        self._local.append(replica)
        self._pulse.nudge(True)

    def remove(self, replica: Local) -> None:
        """The node no longer tells of it."""
        self._local.remove(replica)
        self._pulse.nudge(True)

    async def hear(self, told: ReplicaTelemetry) -> None:
        """A replica in another process told of itself."""
        if self._elsewhere.hear(told, monotonic()):
            self._pulse.nudge(True)

    async def metrics(self) -> list[str]:
        """The metrics of the replicas in other processes; one that doesn't answer is left out."""
        names = [told.state.replica for told in self._elsewhere.living(monotonic())]
        return [text for text in await asyncio.gather(*map(self._metrics_of, names)) if text]

    async def _metrics_of(self, replica: str) -> str:
        try:
            return (await self._bus.request(REPLICA_METRICS, Empty(), replica=replica)).text
        except ServiceError as error:
            log.debug("replica_metrics_missed", replica=replica, reason=error.code)
            return ""

    async def set_draining(self, request: SetDraining) -> Drained:
        """Requests that come all the same are answered: nothing is lost while the word spreads."""
        if request.draining != self.draining:
            self.draining = request.draining
            log.info("node_draining" if request.draining else "node_undrained")
            self._pulse.nudge(True)
        return Drained(node_id=self._facts.node_id, draining=self.draining)

    @property
    def published(self) -> int:
        """Messages so far."""
        return self._sequence

    @property
    def sample(self) -> Sample:
        """The sensors' last reading."""
        return self._sample

    async def run(self) -> None:
        """Until cancelled; a broker that is away is waited for."""
        while True:
            await self._pulse.wait()
            await self._look()
            await self.publish()

    async def publish(self) -> None:
        """One message, now; lost when the broker is away, since the next one supersedes it."""
        self._sequence += 1
        replicas = [local.snapshot() for local in self._local] + self._elsewhere.living(monotonic())
        message = describe(
            self._facts,
            sequence=self._sequence,
            at=datetime.now(UTC),
            runtime=self.runtime,
            sample=self._sample,
            replicas=replicas,
            draining=self.draining,
            degraded=self._degraded(),
        )
        try:
            await self._bus.broadcast(NODE, message)
        except ServiceError as error:
            log.debug("telemetry_lost", reason=error.code)

    async def _look(self) -> None:
        """The sensors, at most once a second, off the loop: some boards' answer slowly."""
        now = monotonic()
        if now - self._sampled_at < 0.9 * EVERY_S:
            return
        self._sampled_at = now
        self._sample = await asyncio.to_thread(self._sensors.sample)
