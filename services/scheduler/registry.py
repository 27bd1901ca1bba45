"""The nodes as their telemetry tells them, corrected by what this scheduler sent since each snapshot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from libs.shared import breakers
from libs.shared.breakers import CLOSED, Breaker, BreakerRules
from libs.shared.contracts.scheduling import Outcome, Placed, PlaceRequest, Ticket
from libs.shared.contracts.telemetry import NodeTelemetry
from services.scheduler import distrust
from services.scheduler.affinity import Sessions, reading
from services.scheduler.candidates import (
    LOST_S,
    Candidate,
    NodeView,
    Queue,
    ReplicaView,
    Usual,
    most_answer,
    node_view,
)
from services.scheduler.distrust import Distrust
from services.scheduler.pace import pace_of, slowdown
from services.scheduler.under_way import Sent

EXTRACTIVE = "extractive"
"""The model that needs no model: it may be asked for by name, and is never the default."""
KNOWN_MODELS = 4096
KNOWN_NODES = 4096
"""Further nodes are not taken in: telemetry must not be able to fill the memory."""
RETIRED_BOOTS = 8
LAG_KEPT = 0.98
"""Of the longest lag at each word that tells of dispatches: it is forgotten as telemetry gets fresher."""
BreakerKey = tuple[str, str]


@dataclass(frozen=True)
class RegistryRules:
    """Times in seconds."""

    silent_s: float = 3.0
    """A node unheard for so long is not chosen."""
    expires_s: float = 600.0
    """And after so long it is forgotten."""
    transit_s: float = 0.02
    """How long a request and a word of telemetry take on their way, at most, when all is well."""
    breaker: BreakerRules = field(default_factory=BreakerRules)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a placement is decided on; the mappings are the registry's own, read within one decision."""

    nodes: Mapping[str, NodeView]
    serving: Mapping[str, tuple[str, ...]]
    """Model → the nodes that have it, by id."""
    candidates: Mapping[str, Sequence[Candidate]]
    """Model → its replicas on those nodes, by id."""
    unserved: Mapping[str, tuple[str, ...]]
    """Model → the nodes that list it, and have no replica with it."""
    only_remote: frozenset[str]
    """Models that answer on remote servers alone; where a node of this network has one, the others are not chosen."""
    some_remote: bool
    warm: Sessions
    breakers: Mapping[BreakerKey, Breaker]
    chat_models: tuple[str, ...]
    """Language models in the order of preference for a default: nodes by id, then as each node lists them."""
    embed_models: tuple[str, ...]
    ever_offered: Mapping[str, None]
    rules: RegistryRules
    placed_at: Mapping[str, float]
    """Node → when a request was last placed there, by any scheduler."""


def _offer(telemetry: NodeTelemetry) -> tuple[object, ...]:
    """What of it decides which candidates there are."""
    models = [(model.name, model.kind, model.remote) for model in telemetry.models]
    return models, [(replica.replica, replica.models) for replica in telemetry.replicas]


class Registry:
    """Keeps the newest telemetry of each node. Not thread-safe: it belongs to one event loop."""

    def __init__(self, rules: RegistryRules, clock: Callable[[], float], scheduler: str = "") -> None:
        """``scheduler`` names this one among several, for one life of its process; made up when empty."""
        self.scheduler = scheduler or uuid4().hex[:12]
        self._rules = rules
        self._clock = clock
        self._telemetry: dict[str, NodeTelemetry] = {}
        self._nodes: dict[str, NodeView] = {}
        self._retired: dict[str, deque[str]] = {}
        self._queues: dict[str, Queue] = {}
        self._candidates: dict[str, dict[BreakerKey, Candidate]] = {}
        self._distrust: dict[BreakerKey, Distrust] = {}
        self._numbered = 0
        self._lag_s = LOST_S
        """How long dispatches take to be told of, at most, of late."""
        self._told: dict[str, Mapping[str, int] | None] = {}
        self._usual: dict[str, Usual] = {}
        self._placed_at: dict[str, float] = {}
        self._sessions = Sessions()
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
        self._telemetry[node] = telemetry
        self._take(node_view(telemetry, self._clock()), {r.replica: r.seen for r in telemetry.replicas})
        if known is None or _offer(known) != _offer(telemetry):
            self._offered(telemetry)
            self._snapshot = self._build()
        return True

    def _take(self, view: NodeView, seen: Mapping[str, Mapping[str, int] | None]) -> None:
        """Reckons the node's candidates anew; ``seen``: replica → scheduler → its highest ticket."""
        before = self._candidates.get(view.node_id, {})
        heat = slowdown(view.throttled, view.temperature_c)
        found: dict[BreakerKey, Candidate] = {}
        for replica in view.replicas:
            queue = self._queues.setdefault(replica.replica, Queue())
            self._told[replica.replica] = seen[replica.replica]
            taken_at = self._settle(queue, seen[replica.replica], view.heard_at)
            self._agree(queue, replica, seen[replica.replica], view.heard_at)
            for name in replica.models:
                if (model := view.models.get(name)) is None:
                    continue
                key = (replica.replica, name)
                doubt = self._distrust[key].now(view.heard_at) if key in self._distrust else 1.0
                pace = pace_of(model, heat=heat, distrust=doubt)
                candidate = before.get(key) or Candidate(view, replica, model, queue)
                candidate.node, candidate.replica, candidate.model = view, replica, model
                candidate.queue, candidate.heard_at = queue, view.heard_at
                candidate.draining = view.draining or replica.draining
                candidate.reckon(pace, self._usual.get(name, Usual()), taken_at, queue.sent)
                if queue.under_way.complete and queue.under_way.outdated:
                    candidate.follow(view.heard_at)
                elif queue.under_way.complete:
                    candidate.hold()
                found[key] = candidate
        self._nodes[view.node_id] = view
        self._candidates[view.node_id] = found

    def _settle(self, queue: Queue, seen: Mapping[str, int] | None, heard_at: float) -> float:
        """Forgets the dispatches that this telemetry counts; when it was taken, as far as can be told.

        A dispatch that it doesn't count, and that must long have come in, shows how old it is.
        """
        if seen is None:
            queue.drop_before(heard_at - self._rules.transit_s)
        else:
            told_after_s = queue.settle(seen, heard_at, self._lost_after_s())
            if told_after_s is not None:
                self._lag_s = max(told_after_s, LAG_KEPT * self._lag_s)
        if queue.sent and queue.sent[0].at < heard_at - self._rules.transit_s:
            return queue.sent[0].at
        return heard_at

    def _agree(self, queue: Queue, replica: ReplicaView, seen: Mapping[str, int] | None, heard_at: float) -> None:
        """Finds out whether every request there is known one by one; where tickets aren't told of, none is."""
        if seen is None:
            queue.under_way.complete = False
            return
        queue.under_way.agree(seen, replica.load, heard_at - self._lag_s, replica.slots)

    def _lost_after_s(self) -> float:
        return min(LOST_S, 2 * self._lag_s + 1.0)

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
                self._queues.pop(replica.replica, None)
                self._told.pop(replica.replica, None)
                self._sessions.gone(replica.replica)
                for model in replica.models:
                    self._breakers.pop((replica.replica, model), None)
                    self._distrust.pop((replica.replica, model), None)

    def _offered(self, telemetry: NodeTelemetry) -> None:
        for model in telemetry.models:
            if len(self._ever) < KNOWN_MODELS:
                self._ever[model.name] = None

    def dispatched(self, candidate: Candidate, request: PlaceRequest) -> Placed:
        """Counts a request that was just placed; what it returns is for the other schedulers to know."""
        now, replica = self._clock(), candidate.replica.replica
        answer = candidate.expected_answer(most_answer(request))
        cached = self._sessions.get(reading(request))
        unread = request.prompt_tokens
        if cached is not None and cached.replica == replica and candidate.model.caches_prefix:
            unread = max(0, unread - int(cached.tokens))
        if candidate.model.name in self._usual or len(self._usual) < KNOWN_MODELS:
            self._usual[candidate.model.name] = self._usual.get(candidate.model.name, Usual()).after(unread, answer)
        queue = candidate.queue
        self._numbered += 1
        ticket = Ticket(scheduler=self.scheduler, number=self._numbered)
        sent = candidate.takes(ticket, now, unread, answer, adapter=request.adapter)
        told = request.kind == "chat"
        self._count(candidate.node.node_id, replica, queue, sent, end_is_told=told)
        self._sessions.placed(reading(request), replica, candidate.slots, _lasting(request, answer))
        breaker = self._breakers.get((replica, candidate.model.name))
        if breaker is not None:
            self._breakers[replica, candidate.model.name] = breakers.probed(breaker, now, self._rules.breaker)
        return Placed(
            node_id=candidate.node.node_id,
            replica=replica,
            model=candidate.model.name,
            adapter=request.adapter,
            ticket=ticket,
            prompt_tokens=unread,
            answer_tokens=answer,
            end_is_told=told,
        )

    def placed_elsewhere(self, placed: Placed) -> None:
        """Counts what another scheduler has placed, unless it is known already."""
        ticket, queue = placed.ticket, self._queues.get(placed.replica)
        if ticket.scheduler == self.scheduler or queue is None:
            return
        told = self._told.get(placed.replica)
        if told is not None and ticket.number <= told.get(ticket.scheduler, 0):
            return
        now, tokens, answer = self._clock(), placed.prompt_tokens, placed.answer_tokens
        sent, slots = Sent(ticket.scheduler, ticket.number, now, tokens, answer), 1
        if (known := self._candidates.get(placed.node_id, {}).get((placed.replica, placed.model))) is not None:
            sent, slots = known.takes(ticket, now, tokens, answer, adapter=placed.adapter), known.slots
        self._sessions.placed(None, placed.replica, slots, 0.0)
        self._count(placed.node_id, placed.replica, queue, sent, end_is_told=placed.end_is_told)

    def _count(self, node_id: str, replica: str, queue: Queue, sent: Sent, *, end_is_told: bool) -> None:
        queue.sent.append(sent)
        self._placed_at[node_id] = sent.at
        if end_is_told:
            queue.under_way.begin(sent)
        else:
            queue.under_way.complete = False
        for candidate in self._of_replica(node_id, replica):
            candidate.add(sent)
            if queue.under_way.complete:
                candidate.hold()

    def _of_replica(self, node_id: str, replica: str) -> list[Candidate]:
        return [c for (name, _), c in self._candidates.get(node_id, {}).items() if name == replica]

    def outcome(self, outcome: Outcome) -> None:
        """Takes a report in. A refusal for want of room is no failure: the queue says it already."""
        key = (outcome.replica, outcome.model)
        self._ended(outcome)
        if outcome.ok:
            self._breakers.pop(key, None)
            self._seen_writing(outcome)
        elif outcome.ok is False and outcome.reason != "refused" and self._has(outcome):
            before = self._breakers.get(key, CLOSED)
            self._breakers[key] = breakers.failed(before, self._clock(), self._rules.breaker)

    def _ended(self, outcome: Outcome) -> None:
        """The request is no longer ahead of the others there."""
        queue, ticket = self._queues.get(outcome.replica), outcome.ticket
        candidates = self._of_replica(outcome.node_id, outcome.replica)
        if queue is None or ticket is None or not candidates:
            return
        now, key = self._clock(), (ticket.scheduler, ticket.number)
        if not queue.under_way.end(key, now, candidates[0].slots):
            return
        queue.forget(key)
        for candidate in candidates:
            if queue.under_way.complete:
                candidate.follow(now)
            else:
                candidate.load = max(0, candidate.load - 1)
                candidate.queue_up()

    def _seen_writing(self, outcome: Outcome) -> None:
        """Compares what a caller saw with what the node says of itself."""
        candidate = self._candidates.get(outcome.node_id, {}).get((outcome.replica, outcome.model))
        if candidate is None or outcome.writing_s is None or outcome.completion_tokens is None:
            return
        said = pace_of(candidate.model).s_per_answer_token
        key, now = (outcome.replica, outcome.model), self._clock()
        self._distrust[key] = distrust.after(
            self._distrust.get(key, Distrust()),
            now,
            writing_s=outcome.writing_s,
            tokens=outcome.completion_tokens,
            s_per_token=said,
        )

    def _has(self, outcome: Outcome) -> bool:
        node = self._nodes.get(outcome.node_id)
        return node is not None and any(r.replica == outcome.replica for r in node.replicas)

    def set_draining(self, node_id: str, draining: bool) -> None:
        """What the node just answered, ahead of its next telemetry."""
        telemetry = self._telemetry.get(node_id)
        if telemetry is not None:
            replicas = tuple(r.model_copy(update={"draining": draining}) for r in telemetry.replicas)
            changed = telemetry.model_copy(update={"draining": draining, "replicas": replicas})
            self._telemetry[node_id] = changed
            self._nodes[node_id] = node_view(changed, self._nodes[node_id].heard_at)
            for candidate in self._candidates.get(node_id, {}).values():
                candidate.draining = draining

    def expire(self) -> tuple[str, ...]:
        """Forgets nodes unheard for long, and what was counted of replicas that no longer exist."""
        now = self._clock()
        gone = tuple(n for n, view in self._nodes.items() if now - view.heard_at > self._rules.expires_s)
        self._drop(gone)
        return gone

    def forget(self, node_id: str) -> bool:
        """Of one that was taken out; False when it wasn't known."""
        known = node_id in self._nodes
        self._drop((node_id,) if known else ())
        return known

    def _drop(self, gone: tuple[str, ...]) -> None:
        for node in gone:
            del self._telemetry[node], self._nodes[node], self._candidates[node]
            self._retired.pop(node, None)
            self._placed_at.pop(node, None)
        living = {r.replica for view in self._nodes.values() for r in view.replicas}
        for replica in self._queues.keys() - living:
            del self._queues[replica]
            self._told.pop(replica, None)
            self._sessions.gone(replica)
        for known in (self._breakers, self._distrust):
            for key in [k for k in known if k[0] not in living]:
                del known[key]
        if gone:
            self._snapshot = self._build()

    def _build(self) -> Snapshot:
        serving: dict[str, list[str]] = {}
        candidates: dict[str, list[Candidate]] = {}
        unserved: dict[str, list[str]] = {}
        near: set[str] = set()
        kinds: dict[str, dict[str, None]] = {"chat": {}, "embed": {}}
        for node_id in sorted(self._nodes):
            here = self._candidates[node_id]
            for model in self._nodes[node_id].models.values():
                serving.setdefault(model.name, []).append(node_id)
                kinds.setdefault(model.kind, {})[model.name] = None
                found = [c for (_, name), c in here.items() if name == model.name]
                candidates.setdefault(model.name, []).extend(found)
                unserved.setdefault(model.name, []).extend([] if found else [node_id])
                if not model.remote:
                    near.add(model.name)
        kinds["chat"].pop(EXTRACTIVE, None)
        return Snapshot(
            nodes=self._nodes,
            serving={model: tuple(nodes) for model, nodes in serving.items()},
            candidates=candidates,
            unserved={model: tuple(nodes) for model, nodes in unserved.items()},
            only_remote=frozenset(serving.keys() - near),
            some_remote=any(m.remote for view in self._nodes.values() for m in view.models.values()),
            warm=self._sessions,
            breakers=self._breakers,
            chat_models=tuple(kinds["chat"]),
            embed_models=tuple(kinds["embed"]),
            ever_offered=self._ever,
            rules=self._rules,
            placed_at=self._placed_at,
        )


def _lasting(request: PlaceRequest, answer_tokens: float) -> float:
    """Tokens with which the session's next prompt will begin, too."""
    return request.prompt_tokens + answer_tokens if request.lasting_tokens is None else request.lasting_tokens
