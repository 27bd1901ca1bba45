"""Everything that one node serves: its replicas, which of them load or failed, and the words for what is degraded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from libs.shared.bus.base import Bus
from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.inference.backends.choose import Node, make_backend
from services.inference.first_pace import KEEP_EVERY_S, FirstPace
from services.inference.giving_way import GivingWay
from services.inference.inspection import Attempts, inspect
from services.inference.lease import ReplicaLease
from services.inference.models import ModelSpec
from services.inference.plan import Runtime
from services.inference.ray_runtime import RayRuntime
from services.inference.replica import Identity, Replica
from services.inference.settings import InferenceSettings

log = get_logger(__name__)


class Served:
    """The models of one node as they come up. ``tell`` hears of every replica that begins to answer."""

    def __init__(self, settings: InferenceSettings, node: Node, boot_id: str, changed: Callable[[bool], None]) -> None:
        self._settings = settings
        self._node = node
        self._boot_id = boot_id
        self._changed = changed
        self._attempts = Attempts(settings.folder.run)
        self._leases: list[ReplicaLease] = []
        self._replicas: list[Replica] = []
        self._paces: list[FirstPace] = []
        self._way = GivingWay()
        self._coming: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._notes: set[str] = set()
        self._troubles: list[Callable[[], tuple[str, ...]]] = []
        self.ray: RayRuntime | None = None
        self.runtime: Runtime | None = None
        """None until it is decided."""

    def note(self, word: str) -> None:
        """Something about the whole node that works less well than it could."""
        self._notes.add(word)

    def more_troubles(self, source: Callable[[], tuple[str, ...]]) -> None:
        """``source`` gives what is wrong elsewhere on the node."""
        self._troubles.append(source)

    def available_mib(self) -> float:
        """Memory that is free now."""
        return self._node.available_mib()

    def refuse(self, label: str, reason: str) -> None:
        """A model that is configured and won't be served."""
        self._refused[label] = reason
        log.warning("model_refused", model=label, reason=reason)
        self._changed(True)

    async def sound(self, specs: Sequence[ModelSpec]) -> list[ModelSpec]:
        """Those whose files are whole and fit; the others are refused, each with its reason."""
        return [spec for spec in specs if await self._is_sound(spec)]

    async def load_all(self, specs: Sequence[ModelSpec], bus: Bus, begun: Callable[[Replica], None]) -> None:
        """One after the other, so that each is weighed against the memory that the one before left."""
        self._coming |= {spec.label: spec.coming for spec in specs}
        for spec in specs:
            try:
                begun(await self._load(spec, bus))
            except ServiceError as error:
                self.refuse(spec.label, error.code)
            except Exception as error:
                # A library or plug-in of one model must not take the others with it.
                log.error("model_not_loaded", model=spec.label, exc_info=error)
                self.refuse(spec.label, "internal")
            self._coming.pop(spec.label, None)
            self._changed(True)

    async def measure(self) -> None:
        """Once all are loaded: tries those whose pace nobody knows, and keeps what requests show; until cancelled."""
        for pace in self._paces:
            await pace.find()
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            for pace in self._paces:
                await pace.go_on()

    def backends(self) -> frozenset[str]:
        """What language models are served with now; ``local`` ones are Ray's too."""
        own = {model.backend for replica in self._replicas for model in replica.models()}
        return frozenset(own | ({"llama_cpp", "transformers"} if self.ray is not None else set()))

    def degraded(self) -> tuple[str, ...]:
        """Stable words with the models' names, sorted."""
        words = set(self._notes)
        words |= {f"{label}: {reason}" for label, reason in self._refused.items()}
        words |= {f"{label}: {word}" for label, word in self._coming.items()}
        words |= {trouble for replica in self._replicas for trouble in replica.troubles()}
        words |= {trouble for source in self._troubles for trouble in source()}
        if self.ray is not None:
            words |= set() if self.ray.started else {"ray: starting"}
            words |= {f"{name}: loading" for name in self.ray.loading}
            words |= {f"{name}: model_broken" for name in self.ray.failed}
        return tuple(sorted(words))

    async def runtime_health(self) -> DependencyHealth:
        """Well when Ray has started, or isn't used; models may still be loading."""
        started = self.runtime == "inline" or (self.ray is not None and self.ray.started)
        return DependencyHealth(ok=started, detail=f"{self.runtime or 'runtime'}{'' if started else ' is starting'}")

    async def close(self) -> None:
        """After the bus has drained."""
        for pace in self._paces:
            await pace.keep()
        for replica in self._replicas:
            await replica.close()
        for lease in self._leases:
            lease.release()

    async def _is_sound(self, spec: ModelSpec) -> bool:
        if not spec.local:
            return True
        try:
            await asyncio.to_thread(
                inspect,
                spec,
                default_context_tokens=self._settings.default_context_tokens,
                available_mib=self._node.available_mib,
            )
        except ServiceError as error:
            self.refuse(spec.label, error.code)
            return False
        return True

    async def _load(self, spec: ModelSpec, bus: Bus) -> Replica:
        lease = ReplicaLease(self._settings.folder.run, self._settings.node_id)
        identity = Identity(self._settings.node_id, lease.replica, self._boot_id)
        try:
            replica = await self._begin(spec, identity, bus)
        except BaseException:
            lease.release()
            raise
        self._leases.append(lease)
        self._replicas.append(replica)
        log.info("model_loaded", model=spec.label, replica=lease.replica)
        return replica

    async def _begin(self, spec: ModelSpec, identity: Identity, bus: Bus) -> Replica:
        if spec.local:
            self._attempts.begin(spec)
        try:
            backend = make_backend(spec, self._node)
            way = self._way if spec.local else None
            replica = Replica(identity, backend, max_queue=self._settings.max_queue, changed=self._changed, way=way)
            pace = FirstPace(replica, spec, self._settings)
            if spec.local:
                await pace.recall()
            await replica.serve(bus)
        finally:
            if spec.local:
                self._attempts.end(spec)
        if spec.local:
            self._paces.append(pace)
        return replica
