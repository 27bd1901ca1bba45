"""The nodes as their telemetry tells them, corrected by what this scheduler sent since each snapshot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from libs.shared.contracts.scheduling import Outcome
from libs.shared.contracts.telemetry import NodeTelemetry, Replica, ServedModel
from services.scheduler import breakers
from services.scheduler.breakers import CLOSED, Breaker, BreakerRules

EXTRACTIVE = "extractive"
"""The model that needs no model: it may be asked for by name, and is never the default."""
KNOWN_MODELS = 4096
KNOWN_NODES = 4096
"""Further nodes are not taken in: telemetry must not be able to fill the memory."""
RETIRED_BOOTS = 8
DISPATCHES = 4096
"""Dispatches since a snapshot that are counted, a replica; a longer queue is endless to every policy."""

BreakerKey = tuple[str, str]


@dataclass(frozen=True)
class RegistryRules:
    """Times in seconds."""

    silent_s: float = 3.0
    """A node unheard for so long is not chosen."""
    expires_s: float = 600.0
    """And after so long it is forgotten."""
    transit_s: float = 0.02
    """A dispatch younger than this when telemetry comes in can't have been counted in it."""
    breaker: BreakerRules = field(default_factory=BreakerRules)


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica's queue as its node last told it."""

    replica: str
    models: frozenset[str]
    load: int
    """Requests in flight and queued."""
    tokens: int
    slots: int
    draining: bool


@dataclass(frozen=True, slots=True)
class NodeView:
    """What policies read of a node."""

    node_id: str
    heard_at: float
    draining: bool
    throttled: bool
    replicas: tuple[ReplicaView, ...]
    models: Mapping[str, ServedModel]


@dataclass(slots=True)
class Dispatches:
    """Requests sent to one replica that its last snapshot can't show."""

    sent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=DISPATCHES))
    tokens: int = 0

    def add(self, at: float, tokens: int) -> None:
        if len(self.sent) == DISPATCHES:
            self.tokens -= self.sent[0][1]
        self.sent.append((at, tokens))
        self.tokens += tokens

    def drop_before(self, at: float) -> None:
        while self.sent and self.sent[0][0] < at:
            self.tokens -= self.sent.popleft()[1]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a placement is decided on; the mappings are the registry's own, read within one decision."""

    nodes: Mapping[str, NodeView]
    serving: Mapping[str, tuple[str, ...]]
    """Model → the nodes that have it, by id."""
    dispatched: Mapping[str, Dispatches]
    breakers: Mapping[BreakerKey, Breaker]
    chat_models: tuple[str, ...]
    """Language models in the order of preference for a default: nodes by id, then as each node lists them."""
    embed_models: tuple[str, ...]
    ever_offered: Mapping[str, None]
    rules: RegistryRules


def _view(telemetry: NodeTelemetry, now: float) -> NodeView:
    return NodeView(
        node_id=telemetry.node_id,
        heard_at=now,
        draining=telemetry.draining,
        throttled=bool(telemetry.throttled),
        replicas=tuple(_replica_view(r) for r in telemetry.replicas),
        models={m.name: m for m in telemetry.models},
    )


def _replica_view(replica: Replica) -> ReplicaView:
    return ReplicaView(
        replica=replica.replica,
        models=frozenset(replica.models),
        load=replica.in_flight + replica.queued,
        tokens=replica.in_flight_tokens + replica.queued_tokens,
        slots=max(1, replica.slots),
        draining=replica.draining,
    )


def _offer(telemetry: NodeTelemetry) -> list[tuple[str, str]]:
    return [(model.name, model.kind) for model in telemetry.models]


class Registry:
    """Keeps the newest telemetry of each node. Not thread-safe: it belongs to one event loop."""

    def __init__(self, rules: RegistryRules, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._telemetry: dict[str, NodeTelemetry] = {}
        self._nodes: dict[str, NodeView] = {}
        self._retired: dict[str, deque[str]] = {}
        self._dispatched: dict[str, Dispatches] = {}
        self._breakers: dict[BreakerKey, Breaker] = {}
        self._ever: dict[str, None] = {}
        self._snapshot = self._build()

    def snapshot(self) -> Snapshot:
        """The state now; cheap."""
        return self._snapshot

    def telemetry(self) -> tuple[NodeTelemetry, ...]:
        """The newest of each node, by node id."""
        return tuple(self._telemetry[node] for node in sorted(self._telemetry))

    def hear(self, telemetry: NodeTelemetry) -> bool:
        """Takes telemetry in; False when it is older than what is known, and therefore dropped."""
        node = telemetry.node_id
        known = self._telemetry.get(node)
        if not self._newer(known, telemetry):
            return False
        self._forgive(known, telemetry)
        now = self._clock()
        self._telemetry[node] = telemetry
        self._nodes[node] = _view(telemetry, now)
        for replica in telemetry.replicas:
            if sent := self._dispatched.get(replica.replica):
                sent.drop_before(now - self._rules.transit_s)
        if known is None or _offer(known) != _offer(telemetry):
            self._offered(telemetry)
            self._snapshot = self._build()
        return True

    def _newer(self, known: NodeTelemetry | None, telemetry: NodeTelemetry) -> bool:
        if known is None:
            return len(self._telemetry) < KNOWN_NODES
        if telemetry.boot_id == known.boot_id:
            return telemetry.sequence > known.sequence
        retired = self._retired.setdefault(known.node_id, deque(maxlen=RETIRED_BOOTS))
        if telemetry.boot_id in retired:
            return False
        retired.append(known.boot_id)
        return True

    def _forgive(self, known: NodeTelemetry | None, telemetry: NodeTelemetry) -> None:
        """A replica that has started anew begins without the record, and the requests, of the one before it."""
        same_boot = known is not None and known.boot_id == telemetry.boot_id
        stayed = {r.replica for r in known.replicas} if known is not None and same_boot else set()
        for replica in telemetry.replicas:
            if replica.replica not in stayed:
                self._dispatched.pop(replica.replica, None)
                for model in replica.models:
                    self._breakers.pop((replica.replica, model), None)

    def _offered(self, telemetry: NodeTelemetry) -> None:
        for model in telemetry.models:
            if len(self._ever) < KNOWN_MODELS:
                self._ever[model.name] = None

    def dispatched(self, replica: str, model: str, tokens: int) -> None:
        """Counts a request that was just placed."""
        now = self._clock()
        self._dispatched.setdefault(replica, Dispatches()).add(now, tokens)
        breaker = self._breakers.get((replica, model))
        if breaker is not None:
            self._breakers[replica, model] = breakers.probed(breaker, now, self._rules.breaker)

    def outcome(self, outcome: Outcome) -> None:
        """Takes a report in. A refusal for want of room is no failure: the queue says it already."""
        key = (outcome.replica, outcome.model)
        if outcome.ok:
            self._breakers.pop(key, None)
        elif outcome.reason != "refused" and self._has(outcome):
            before = self._breakers.get(key, CLOSED)
            self._breakers[key] = breakers.failed(before, self._clock(), self._rules.breaker)

    def _has(self, outcome: Outcome) -> bool:
        node = self._nodes.get(outcome.node_id)
        return node is not None and any(r.replica == outcome.replica for r in node.replicas)

    def set_draining(self, node_id: str, draining: bool) -> None:
        """What the node just answered, ahead of its next telemetry."""
        telemetry = self._telemetry.get(node_id)
        if telemetry is not None:
            changed = telemetry.model_copy(update={"draining": draining})
            self._telemetry[node_id] = changed
            self._nodes[node_id] = _view(changed, self._nodes[node_id].heard_at)

    def expire(self) -> tuple[str, ...]:
        """Forgets nodes unheard for long, and what was counted of replicas that no longer exist."""
        now = self._clock()
        gone = tuple(n for n, view in self._nodes.items() if now - view.heard_at > self._rules.expires_s)
        for node in gone:
            del self._telemetry[node], self._nodes[node]
            self._retired.pop(node, None)
        living = {r.replica for view in self._nodes.values() for r in view.replicas}
        for replica in self._dispatched.keys() - living:
            del self._dispatched[replica]
        for key in [k for k in self._breakers if k[0] not in living]:
            del self._breakers[key]
        if gone:
            self._snapshot = self._build()
        return gone

    def _build(self) -> Snapshot:
        serving: dict[str, list[str]] = {}
        kinds: dict[str, dict[str, None]] = {"chat": {}, "embed": {}}
        for node_id in sorted(self._nodes):
            for model in self._nodes[node_id].models.values():
                serving.setdefault(model.name, []).append(node_id)
                kinds.setdefault(model.kind, {})[model.name] = None
        kinds["chat"].pop(EXTRACTIVE, None)
        return Snapshot(
            nodes=self._nodes,
            serving={model: tuple(nodes) for model, nodes in serving.items()},
            dispatched=self._dispatched,
            breakers=self._breakers,
            chat_models=tuple(kinds["chat"]),
            embed_models=tuple(kinds["embed"]),
            ever_offered=self._ever,
            rules=self._rules,
        )
