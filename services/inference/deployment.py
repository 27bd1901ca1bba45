"""One model as a Ray Serve deployment: Serve starts, scales and heals it, and it answers NATS by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.inference import REPLICA_METRICS
from libs.shared.contracts.telemetry import REPLICA, MetricsText
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger, metrics, metrics_text, setup
from services.inference.backends.choose import make_backend
from services.inference.first_pace import KEEP_EVERY_S, FirstPace
from services.inference.lease import ReplicaLease
from services.inference.machine import node_of
from services.inference.models import ModelSpec
from services.inference.ray_processes import is_stopping
from services.inference.replica import Identity, Replica
from services.inference.scaling import LOAD, SLOTS
from services.inference.settings import InferenceSettings
from services.inference.telemetry.pulse import Pulse

STOPPING_LOOK_S = 0.5
"""How often a replica that lets its answers end looks whether its node stops."""
SPREAD_S = 0.1
"""Between the word that a replica stops and its stopping: requests sent in that time are still answered."""

log = get_logger(__name__)


class ReplicaDeployment:
    """What Serve runs in each replica's process. Serve knows nothing of the requests: it is told nothing but health."""

    def __init__(self) -> None:
        self._bus: NatsBus | None = None
        self._replica: Replica | None = None
        self._lease: ReplicaLease | None = None
        self._telling: asyncio.Task[None] | None = None
        self._pace: FirstPace | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._settings: InferenceSettings | None = None
        self._flush: Callable[[], None] | None = None

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Called by Serve with ``user_config`` before the replica counts as running. Raises what loading raises."""
        if self._bus is not None:
            return
        settings = InferenceSettings.model_validate(config["settings"])
        spec = ModelSpec.model_validate(config["spec"])
        self._flush = setup(Principal.INFERENCE, settings)
        self._settings = settings
        self._lease = ReplicaLease(settings.folder.run, settings.node_id)
        self._bus = await connect(settings)
        try:
            await self._begin(settings, spec)
        except BaseException:
            await self.__del__()
            raise

    async def _begin(self, settings: InferenceSettings, spec: ModelSpec) -> None:
        assert self._bus is not None
        assert self._lease is not None
        pulse = Pulse()
        identity = Identity(settings.node_id, self._lease.replica, uuid4().hex)
        backend = make_backend(spec, node_of(settings))
        self._replica = Replica(identity, backend, max_queue=settings.max_queue, changed=pulse.nudge)
        metrics.name_service(f"{Principal.INFERENCE}/{identity.replica}")
        await self._bus.serve(REPLICA_METRICS, _metrics, replica=identity.replica)
        if spec.local:
            self._pace = FirstPace(self._replica, spec, settings)
            await self._pace.recall()
        await self._replica.serve(self._bus)
        if self._pace is not None:
            self._measuring = asyncio.create_task(_measure(self._pace))
        self._telling = asyncio.create_task(self._tell(self._bus, self._replica, pulse))
        log.info("replica_started", replica=identity.replica, backend=backend.name)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve's autoscaler is told: the replica's own queue, of which Serve knows nothing."""
        if self._replica is None:
            return {LOAD: 0.0, SLOTS: 1.0}
        state = self._replica.snapshot().state
        return {LOAD: float(state.in_flight + state.queued), SLOTS: float(state.slots)}

    async def check_health(self) -> None:
        """Raises when the replica can't be reached for good, or no longer tells of itself: Serve makes another."""
        if self._bus is not None and self._bus.transport.closed.is_set():
            raise RuntimeError("the broker closed the connection for good")
        if self._telling is not None and self._telling.done():
            raise RuntimeError("the replica stopped telling of itself")

    async def __del__(self) -> None:
        """Called and awaited by Serve before it ends the process: without it, what is in flight would be lost."""
        bus, self._bus = self._bus, None
        if bus is None:
            return
        if self._telling is not None:
            self._telling.cancel()
        if self._measuring is not None:
            self._measuring.cancel()
        await self._say_goodbye(bus)
        assert self._settings is not None
        await drain(bus, self._settings)
        if self._pace is not None:
            await self._pace.keep()
        if self._replica is not None:
            await self._replica.close()
        if self._lease is not None:
            self._lease.release()
        if self._flush is not None:
            await asyncio.to_thread(self._flush)

    async def _say_goodbye(self, bus: NatsBus) -> None:
        if self._replica is None:
            return
        with suppress(ServiceError):
            await bus.broadcast(REPLICA, self._replica.snapshot(stopped=True))
            await asyncio.sleep(SPREAD_S)

    async def _tell(self, bus: NatsBus, replica: Replica, pulse: Pulse) -> None:
        while True:
            await pulse.wait()
            try:
                await bus.broadcast(REPLICA, replica.snapshot())
            except ServiceError as error:
                log.debug("telemetry_lost", reason=error.code)


async def drain(bus: NatsBus, settings: InferenceSettings) -> None:
    """A replica that is replaced lets its longest answer end; one whose node stops has as long as the node."""
    draining = asyncio.create_task(bus.drain(settings.longest_generation_s))
    while not draining.done() and not is_stopping(settings.folder.ray):
        await asyncio.wait({draining}, timeout=STOPPING_LOOK_S)
    await asyncio.wait({draining}, timeout=settings.drain_timeout_s)
    if not draining.done():
        draining.cancel()
        await bus.close()


async def _measure(pace: FirstPace) -> None:
    """Tries the model where nobody knows its pace, and keeps what requests show; until cancelled."""
    await pace.find()
    while True:
        await asyncio.sleep(KEEP_EVERY_S)
        await pace.go_on()


async def _metrics(request: Empty) -> MetricsText:
    return MetricsText(text=metrics_text())


async def connect(settings: InferenceSettings) -> NatsBus:
    """As the service itself connects: the node's key covers its replicas."""
    return await NatsBus.connect(
        settings.nats_url,
        principal=Principal.INFERENCE,
        seed_file=settings.nats_seed_file or settings.folder.nkey(Principal.INFERENCE),
        ca_file=settings.nats_ca_file,
        node=settings.node_id,
        tls_name=settings.nats_tls_name,
    )
