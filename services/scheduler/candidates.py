"""What a policy chooses from: a replica with one of its models, and the work ahead of the next request there."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.shared.contracts.scheduling import PlaceRequest, Ticket
from libs.shared.contracts.telemetry import USUAL_ANSWER_TOKENS, NodeTelemetry, Replica, ServedModel, with_adapter
from services.scheduler.pace import Pace
from services.scheduler.under_way import DISPATCHES, Sent, TicketKey, UnderWay

OVERDUE = 0.5
"""Of its answer's expected time a request still takes that has taken as long as was expected and has not ended."""
NEWEST_WEIGHT = 0.02
"""Of one request in what is usual: the last fifty count for most of it."""
ON_BATTERY = 2.0
"""A second of a node that runs on its battery costs as much as two elsewhere: work goes there when the others have as
much again to do, and what is told of its end stays true."""
UNMEASURED_ADAPTER_LOAD_S = 2.0
"""How long loading an adapter is taken to take where none was loaded yet: 40 million parameters, those of rank 16 on
all of a 7 B model's projections, are 80 MB in half precision, and a board reads some 40 MB a second from its card."""
LOST_S = 15.0
"""A dispatch that a replica has not told of for so long was never sent, or was lost on its way; it is given up sooner
where telemetry is known to be fresher."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica's queue as its node last told it."""

    replica: str
    models: frozenset[str]
    load: int
    """Requests in flight and queued, but for those that stop as soon as another comes."""
    to_read: int
    """Tokens of their prompts that are still to be read."""
    to_write: int | None
    """Tokens of their answers that are still to be written; None: the node doesn't reckon them."""
    slots: int
    draining: bool
    background: int = 0
    """Those."""
    adapters: frozenset[str] = frozenset()
    """In its memory, as ``model:adapter``."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """What placement reads of a node."""

    node_id: str
    heard_at: float
    draining: bool
    throttled: bool
    temperature_c: float | None
    replicas: tuple[ReplicaView, ...]
    models: dict[str, ServedModel]
    on_battery: bool = False
    """Whether it runs on a battery that is being emptied."""
    over_power_budget: bool = False


class Usual(NamedTuple):
    """The size of a model's usual request: exponentially weighted means of those that were placed."""

    prompt_tokens: float = 500.0
    answer_tokens: float = USUAL_ANSWER_TOKENS

    def after(self, prompt_tokens: float, answer_tokens: float) -> Usual:
        """With one more request, at least of one token each."""
        kept = 1 - NEWEST_WEIGHT
        return Usual(
            kept * self.prompt_tokens + NEWEST_WEIGHT * max(1.0, prompt_tokens),
            kept * self.answer_tokens + NEWEST_WEIGHT * max(1.0, answer_tokens),
        )


@dataclass(slots=True, eq=False)
class Queue:
    """One replica's placements that its last telemetry can't show, and those whose end is still to be told."""

    sent: deque[Sent] = field(default_factory=lambda: deque(maxlen=DISPATCHES))
    under_way: UnderWay = field(default_factory=UnderWay)

    def settle(self, seen: Mapping[str, int], now: float, lag_s: float) -> float | None:
        """Forgets those that telemetry counts by now, and those that must be lost, for none takes ``lag_s`` to be told
        of; ``seen``: scheduler → number. How long the earliest of those told of now took; None: none was."""
        if not self.sent:
            return None
        counted = [s for s in self.sent if s.number <= seen.get(s.scheduler, 0)]
        unseen = [s for s in self.sent if s.number > seen.get(s.scheduler, 0) and s.at >= now - lag_s]
        for lost in self.sent:
            if lost.number > seen.get(lost.scheduler, 0) and lost.at < now - lag_s:
                self.under_way.drop((lost.scheduler, lost.number))
        self.sent.clear()
        self.sent.extend(unseen)
        return now - counted[0].at if counted else None

    def brings(self, adapter: str) -> bool:
        """Whether one of them has it loaded, given as ``model:adapter``."""
        under_way = self.under_way.requests.values()
        return any(sent.adapter == adapter for sent in self.sent) or any(r.sent.adapter == adapter for r in under_way)

    def forget(self, key: TicketKey) -> None:
        """One of them has ended."""
        for sent in self.sent:
            if (sent.scheduler, sent.number) == key:
                self.sent.remove(sent)
                break

    def drop_before(self, at: float) -> None:
        """The same by time alone, for a replica that doesn't tell of tickets."""
        while self.sent and self.sent[0].at < at:
            self.sent.popleft()


@dataclass(slots=True, eq=False)
class Candidate:
    """A replica with one model, as the scheduler reckons it now. Times are on its monotonic clock, in seconds."""

    node: NodeView
    replica: ReplicaView
    model: ServedModel
    queue: Queue
    adapters: frozenset[str] = frozenset()
    """With which the model can answer there, in memory or not."""
    draining: bool = False
    load: int = 0
    """Requests told of, and sent since."""
    slots: int = 1
    heard_at: float = 0.0
    free_at: float = 0.0
    """When everything ahead will be done, as far as is known; it needs no telemetry to come nearer."""
    least: float = 0.0
    """Seconds of work ahead at least, whatever the time: what is known not to have ended, or not to have begun."""
    waits: float = 0.0
    """What share of the work ahead has to be done before the next request begins; 0 while a slot is free."""
    share: float = 1.0
    """Of its work a second that one of its slots does."""
    s_per_prompt_token: float = 0.0
    s_per_answer_token: float = 0.0
    answer_tokens: float = 0.0
    price: float = 1.0
    """How many times a second here costs one elsewhere, whatever its pace: what runs on its battery is spared."""
    later: float = 1.0
    """1 / the seconds that the model's usual request takes here."""

    def reckon(self, pace: Pace, usual: Usual, taken_at: float, sent: Collection[Sent]) -> None:
        """From telemetry that shows the replica as it was at ``taken_at``, and what was sent since."""
        self.s_per_prompt_token, self.s_per_answer_token, self.answer_tokens = pace
        self.price = ON_BATTERY if self.node.on_battery else 1.0
        self.adapters = frozenset(self.model.adapters)
        self.later = 1.0 / self.work_s(usual.prompt_tokens, usual.answer_tokens)
        told = self.replica
        answers = told.to_write if told.to_write is not None else told.load * self.answer_tokens
        self.load = told.load
        self.slots = told.slots
        self.least = 0.0
        ahead = self.work_s(told.to_read, answers) + self._untold_loading_s(taken_at, sent)
        self.free_at = taken_at + ahead / told.slots
        self.queue_up()
        for one in sent:
            self.add(one)

    def add(self, sent: Sent) -> None:
        """One more request ahead of the next."""
        self.load += 1
        begins = self.free_at if self.free_at > sent.at else sent.at
        work = self.work_s(sent.prompt_tokens, sent.answer_tokens) + self._left_to_load_s(sent)
        self.free_at = begins + work / self.slots
        self.queue_up()

    def follow(self, now: float) -> None:
        """From the requests under way themselves, where each is known: the next begins when one has ended."""
        ahead = least = 0.0
        for place, one in enumerate(self.queue.under_way.requests.values()):
            work = self.work_s(one.sent.prompt_tokens, one.sent.answer_tokens)
            if place < self.slots:
                rest = OVERDUE * one.sent.answer_tokens * self.s_per_answer_token
                ahead += max(work + one.sent.loading_s - max(0.0, now - one.begun), rest)
                least += rest
            else:
                work += self._left_to_load_s(one.sent)
                ahead += work
                least += work
        self.load = len(self.queue.under_way.requests)
        self.free_at, self.least = now + ahead / self.slots, least / self.slots
        self.queue_up()

    def hold(self) -> None:
        """Counts as ahead at least what is known not to have ended, where telemetry tells of all but that."""
        free_at = self.free_at
        self.follow(self.heard_at)
        self.free_at = free_at

    def queue_up(self) -> None:
        """Of ``load`` and ``slots``: the next begins when all but the slots' own number less one have ended, which are
        taken for equally long."""
        self.share = 1.0 / self.slots
        self.waits = (self.load - self.slots + 1) / self.load if self.load >= self.slots else 0.0

    def work_s(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Seconds that one slot takes for them."""
        return prompt_tokens * self.s_per_prompt_token + answer_tokens * self.s_per_answer_token

    def loading_s(self, adapter: str | None) -> float:
        """Seconds by which an adapter makes a request longer: none where it is in memory already, or where one that is
        ahead has it loaded."""
        if adapter is None:
            return 0.0
        name = with_adapter(self.model.name, adapter)
        if name in self.replica.adapters or self.queue.brings(name):
            return 0.0
        return UNMEASURED_ADAPTER_LOAD_S if self.model.adapter_load_s is None else self.model.adapter_load_s

    def takes(
        self, ticket: Ticket, at: float, prompt_tokens: int, answer_tokens: float, *, adapter: str | None
    ) -> Sent:
        """A request that is placed here, with what its adapter adds to it."""
        name = None if adapter is None else with_adapter(self.model.name, adapter)
        return Sent(ticket.scheduler, ticket.number, at, prompt_tokens, answer_tokens, name, self.loading_s(adapter))

    def _left_to_load_s(self, sent: Sent) -> float:
        """Of a request that has not begun: another may have loaded its adapter meanwhile."""
        return 0.0 if sent.adapter in self.replica.adapters else sent.loading_s

    def _untold_loading_s(self, at: float, unseen: Collection[Sent]) -> float:
        """What those that telemetry counts have left to load, all but the ``unseen``: it tells of tokens alone."""
        loading = self.queue.under_way.loading(at, self.replica.slots)
        return sum(s for sent, s in loading if sent.adapter not in self.replica.adapters and sent not in unseen)

    def expected_answer(self, most: int) -> float:
        """Tokens that an answer of at most ``most`` will have."""
        return self.answer_tokens if self.answer_tokens < most else most


def most_answer(request: PlaceRequest) -> int:
    """Tokens that are written at most: an embedding has none."""
    return request.max_tokens if request.kind == "chat" else 0


def node_view(telemetry: NodeTelemetry, now: float) -> NodeView:
    """What placement reads of ``telemetry``, which came at ``now``."""
    return NodeView(
        node_id=telemetry.node_id,
        heard_at=now,
        draining=telemetry.draining,
        throttled=bool(telemetry.throttled),
        temperature_c=telemetry.temperature_c,
        replicas=tuple(_replica_view(replica) for replica in telemetry.replicas),
        models={model.name: model for model in telemetry.models},
        on_battery=telemetry.power_source == "battery",
        over_power_budget=_over_budget(telemetry),
    )


def _over_budget(telemetry: NodeTelemetry) -> bool:
    drawn, budget = telemetry.power_w, telemetry.power_budget_w
    return drawn is not None and budget is not None and drawn > budget


def _replica_view(replica: Replica) -> ReplicaView:
    read = replica.to_read_tokens
    return ReplicaView(
        replica=replica.replica,
        models=frozenset(replica.models),
        load=max(0, replica.in_flight + replica.queued - replica.background),
        to_read=replica.in_flight_tokens + replica.queued_tokens if read is None else read,
        to_write=replica.to_write_tokens,
        slots=max(1, replica.slots),
        draining=replica.draining,
        background=replica.background,
        adapters=frozenset(replica.adapters),
    )
