"""One coroutine a subject: placing requests, listing nodes and models, draining."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.inference import SET_DRAINING, SetDraining
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import (
    PLACED,
    Drained,
    Explanation,
    Forgotten,
    Histories,
    JobPlacement,
    Models,
    NodeRef,
    Nodes,
    Outcome,
    Placed,
    PlaceJob,
    Placement,
    PlaceRequest,
    ReadHistory,
)
from libs.shared.contracts.telemetry import NodeTelemetry
from libs.shared.errors import NodeNotFound, NodeSilent, ServiceError, TimedOut, Unavailable, Unsupported
from libs.shared.roles import roles_of
from libs.shared.telemetry import get_logger, metrics
from services.scheduler import listing
from services.scheduler.background import Room, find_room, machine_room
from services.scheduler.explaining import BACKGROUND, explain, explain_room
from services.scheduler.history import MOST_TOLD, History
from services.scheduler.placement import Decision, choose
from services.scheduler.policies import completions_s, first_token_s
from services.scheduler.registry import Registry
from services.scheduler.replaying.trace import Trace

log = get_logger(__name__)


class Grace:
    """The moment after a start or a reconnection, when a missing node may only not have spoken yet."""

    def __init__(self, length_s: float, clock: Callable[[], float]) -> None:
        self._length_s = length_s
        self._clock = clock
        self._heard = asyncio.Event()
        self._until = 0.0
        self.begin()

    def begin(self) -> None:
        """Starts the moment (again)."""
        self._until = self._clock() + self._length_s

    def telemetry_came(self) -> None:
        """Wakes every waiting request."""
        self._heard.set()
        self._heard = asyncio.Event()

    async def more(self) -> bool:
        """Waits for the next telemetry; False once the moment is over."""
        left_s = self._until - self._clock()
        if left_s <= 0:
            return False
        try:
            async with asyncio.timeout(left_s):
                await self._heard.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True)
class Scheduling:
    """What every handler works with."""

    bus: Bus
    registry: Registry
    grace: Grace
    settings: Callable[[], RuntimeSettings]
    clock: Callable[[], float]
    history: History = field(default_factory=History)
    trace: Trace = field(default_factory=Trace)
    placing: Callable[[], None] = lambda: None
    """Told before each placement: what nobody waits for makes way."""

    async def place(self, request: PlaceRequest) -> Placement:
        """PLACE. A refusal is held back while nodes may still be about to speak."""
        self.placing()
        decision = self._decide(request)
        while decision.choice is None and await self.grace.more():
            decision = self._decide(request)
        placement, placed = self._act(request, decision)
        try:
            await self.bus.broadcast(PLACED, placed)
        except ServiceError as error:
            log.debug("placement_untold", code=error.code)
        return placement

    async def explain_placement(self, request: PlaceRequest) -> Explanation:
        """EXPLAIN_PLACEMENT. Decides as ``place`` does, and leaves it at that."""
        return explain(request, self._decide(request), self.registry.snapshot())

    async def place_job(self, request: PlaceJob) -> JobPlacement:
        """PLACE_JOB. It counts as no placement: a job makes way, so no request goes elsewhere for it."""
        if request.kind == "train":
            return self._on_machine(request)
        decision = self._decide(_as_request(request))
        if decision.refusal is not None:
            raise decision.refusal
        room = self._find_room(decision, request)
        choice = room.choice
        metrics.SCHEDULER_DECISIONS.add(1, {"reason": "no_room" if choice is None else "room"})
        placement = None
        if choice is not None:
            placement = Placement(
                node_id=choice.node.node_id, replica=choice.replica.replica, model=choice.model, policy=BACKGROUND
            )
        return JobPlacement(
            placement=placement,
            room=choice is not None,
            retry_after_s=round(room.retry_after_s, 3),
            reasons=room.reasons,
        )

    def _on_machine(self, request: PlaceJob) -> JobPlacement:
        found = machine_room(request.node_id, self.registry.snapshot(), self.clock(), waited_s=request.waited_s)
        metrics.SCHEDULER_DECISIONS.add(1, {"reason": "room" if found.reason is None else "no_room"})
        return JobPlacement(
            room=found.reason is None,
            retry_after_s=round(found.retry_after_s, 3),
            reasons={} if found.reason is None else {found.reason: 1},
        )

    async def explain_job(self, request: PlaceJob) -> Explanation:
        """EXPLAIN_JOB. Decides as ``place_job`` does, and counts nowhere."""
        if request.kind == "train":
            raise Unsupported("work on one machine alone is placed nowhere; mongars nodes show says how it does")
        wanted = _as_request(request)
        decision = self._decide(wanted)
        room = self._find_room(decision, request) if decision.refusal is None else None
        return explain_room(wanted, decision, room, self.registry.snapshot())

    def _find_room(self, decision: Decision, request: PlaceJob) -> Room:
        return find_room(decision, self.registry.snapshot(), self.clock(), waited_s=request.waited_s)

    async def placed_elsewhere(self, placed: Placed) -> None:
        """PLACED."""
        self.registry.placed_elsewhere(placed)

    def _decide(self, request: PlaceRequest) -> Decision:
        settings = self.settings()
        return choose(
            request,
            self.registry.snapshot(),
            self.clock(),
            draw=random.random(),  # noqa: S311 - spreads load; nothing secret depends on it
            policy=settings.placement_policy,
            others=settings.placement_others,
            roles=roles_of(settings),
            remote_models=settings.remote_models,
        )

    def _act(self, request: PlaceRequest, decision: Decision) -> tuple[Placement, Placed]:
        if decision.choice is None:
            assert decision.refusal is not None
            if request.first_within_s is None:  # a second copy that finds no node leaves nobody without an answer
                metrics.SCHEDULER_DECISIONS.add(1, {"reason": decision.refusal.code})
            raise decision.refusal
        choice = decision.choice
        metrics.SCHEDULER_DECISIONS.add(1, {"reason": "ok"})
        assert decision.ask is not None
        expected_s = completions_s([choice], decision.ask)[0]
        expected_first_s = first_token_s(choice, decision.ask)
        adapter = decision.ask.adapter
        if adapter != request.adapter:  # it was named with the model
            request = request.model_copy(update={"adapter": adapter})
        placed = self.registry.dispatched(choice, request)
        self.trace.placed(request, placed, self.clock())
        placement = Placement(
            node_id=choice.node.node_id,
            replica=choice.replica.replica,
            model=choice.model,
            adapter=adapter,
            policy=decision.policy,
            rejected=decision.reasons,
            ticket=placed.ticket,
            expected_s=round(expected_s, 3),
            expected_first_s=round(expected_first_s, 3),
        )
        return placement, placed

    async def heard(self, telemetry: NodeTelemetry) -> None:
        """NODE."""
        if self.registry.hear(telemetry):
            self.history.note(telemetry, self.clock())
            self.grace.telemetry_came()

    async def outcome(self, outcome: Outcome) -> None:
        """OUTCOME."""
        self.registry.outcome(outcome)
        self.trace.ended(outcome)
        if outcome.ok is False:
            log.info("placement_failed", node_id=outcome.node_id, replica=outcome.replica, reason=outcome.reason)

    async def list_nodes(self, _: Empty) -> Nodes:
        """LIST_NODES."""
        now, snapshot = self.clock(), self.registry.snapshot()
        return Nodes(nodes=tuple(listing.node(t, snapshot, now) for t in self.registry.telemetry()))

    async def read_history(self, request: ReadHistory) -> Histories:
        """NODE_HISTORY."""
        known = self.registry.snapshot().nodes
        wanted = sorted(known if request.node_id is None else {request.node_id} & known.keys())
        most = max(1, MOST_TOLD // max(1, len(wanted)))
        told = {}
        for node in wanted:
            told[node] = self.history.read(node, now_s=self.clock(), now=datetime.now(UTC), most=most)
            await asyncio.sleep(0)  # a placement goes before the next node's past
        return Histories(nodes=told)

    async def list_models(self, _: Empty) -> Models:
        """LIST_MODELS."""
        return listing.models(self.registry.snapshot(), self.clock(), roles_of(self.settings()))

    async def drain(self, request: NodeRef) -> Drained:
        """DRAIN."""
        return await self._set_draining(request, draining=True)

    async def undrain(self, request: NodeRef) -> Drained:
        """UNDRAIN."""
        return await self._set_draining(request, draining=False)

    async def forget(self, request: NodeRef) -> Forgotten:
        """FORGET."""
        known = self.registry.forget(request.node_id)
        if known:
            self.history.forget(request.node_id)
            log.info("node_removed", node_id=request.node_id)
        return Forgotten(known=known)

    async def _set_draining(self, request: NodeRef, *, draining: bool) -> Drained:
        if request.node_id not in self.registry.snapshot().nodes:
            raise NodeNotFound("no such node is known; see mongars nodes")
        try:
            drained = await self.bus.request(SET_DRAINING, SetDraining(draining=draining), node=request.node_id)
        except (Unavailable, TimedOut):
            raise NodeSilent("the node does not answer; while it is silent nothing is placed on it") from None
        self.registry.set_draining(request.node_id, drained.draining)
        log.info("node_draining", node_id=request.node_id, draining=drained.draining)
        return drained


def _as_request(job: PlaceJob) -> PlaceRequest:
    """The request whose placement says which nodes may take the job at all."""
    return PlaceRequest.model_validate(job.model_dump(exclude={"waited_s"}))
