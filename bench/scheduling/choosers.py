"""Who chooses a node: the product's scheduler on telemetry, and what others do, each with its source.

- ``clairvoyant``: sees each node's true state now and each request's true cost, and takes the earliest completion.
- ``weighted_least_connections``: live counts over weights, as nginx's ``least_conn`` and LVS's ``wlc`` do; weights are
  the nodes' true speeds, ties fall by weight.
- ``shortest_expected_delay``: the same with the request itself counted (LVS's ``sed``).
- ``round_robin``; ``weighted_random`` by true speed.
- ``peak_ewma``: two drawn at random, the one with the lower latency, peaks at once and then decaying, times its own
  outstanding requests (Finagle's ``PeakEwma``; Linkerd).
- ``prequal``: probes of three nodes a request, kept in a pool of sixteen; of those that are not hot in requests in
  flight the one with the least estimated latency, else the least loaded (Wydrowski et al., *Load is not what you should
  balance: introducing Prequal*, NSDI 2024). Probes are answered at once and truly.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from bench.scheduling.node import MODEL, Node
from bench.scheduling.workload import Request
from libs.shared.contracts.scheduling import Outcome, Placed, PlaceRequest, Ticket
from libs.shared.contracts.telemetry import NodeTelemetry
from services.scheduler.placement import choose
from services.scheduler.policies import POLICIES, first_token_s
from services.scheduler.registry import Registry, RegistryRules
from services.scheduler.replaying.trace import Trace


class Chosen(NamedTuple):
    """A node's place, and what goes with the request."""

    place: int
    ticket: Ticket | None = None
    expected_first_s: float | None = None


class Chooser(Protocol):
    """Chooses among the nodes; is told of what a client, and the network, would tell it."""

    def choose(self, request: Request, now: float, tried: Sequence[int]) -> Chosen | None:
        """None: nothing can be chosen."""
        ...

    def hear(self, telemetry: NodeTelemetry, now: float) -> None: ...

    def ended(self, request: Request, place: int, begun_at: float, now: float, writing_s: float) -> None: ...

    def failed(self, request: Request, place: int, now: float) -> None: ...


@dataclass
class Scheduler:
    """The product's own: registry, policy, breakers and tickets, on what telemetry and callers tell."""

    nodes: list[Node]
    policy: str
    chance: random.Random
    silent_s: float
    tell: Callable[[Placed, float], None] = lambda placed, now: None
    others: float = 1.0
    now: float = 0.0
    trace: Trace = field(default_factory=Trace)
    registry: Registry = field(init=False)

    def __post_init__(self) -> None:
        self.registry = Registry(RegistryRules(silent_s=self.silent_s), lambda: self.now)

    def choose(self, request: Request, now: float, tried: Sequence[int]) -> Chosen | None:
        return self.place(request, now, tried)

    def place(
        self,
        request: Request,
        now: float,
        tried: Sequence[int],
        *,
        beside: Sequence[int] = (),
        first_within_s: float | None = None,
    ) -> Chosen | None:
        """``beside``: nodes that have it already."""
        self.now = now
        asked = PlaceRequest.model_construct(
            kind="chat",
            model=MODEL,
            prompt_tokens=request.prompt_tokens,
            max_tokens=request.max_tokens,
            session=None,
            lasting_tokens=None,
            needs=(),
            exclude=tuple(f"{self.nodes[place].name}-0" for place in tried),
            exclude_nodes=tuple(self.nodes[place].name for place in beside),
            patience_s=None,
            first_within_s=first_within_s,
        )
        decision = choose(
            asked, self.registry.snapshot(), now, draw=self.chance.random(), policy=self.policy, others=self.others
        )
        if decision.choice is None:
            return None
        placed = self.registry.dispatched(decision.choice, asked)
        self.trace.placed(asked, placed, now)
        self.tell(placed, now)
        assert decision.ask is not None
        first_s = first_token_s(decision.choice, decision.ask)
        return Chosen(int(decision.choice.node.node_id[1:]), placed.ticket, first_s)

    def heard(self, placed: Placed, now: float) -> None:
        """Another scheduler's placement."""
        self.now = now
        self.registry.placed_elsewhere(placed)

    def hear(self, telemetry: NodeTelemetry, now: float) -> None:
        self.now = now
        self.registry.hear(telemetry)

    def ended(self, request: Request, place: int, begun_at: float, now: float, writing_s: float) -> None:
        """Told as an outcome instead, to every scheduler."""

    def failed(self, request: Request, place: int, now: float) -> None:
        """Told as an outcome instead, to every scheduler."""

    def told(self, outcome: Outcome, now: float) -> None:
        """How a request went, wherever it was placed."""
        self.now = now
        self.registry.outcome(outcome)
        self.trace.ended(outcome)


def outcome(
    node: Node, ticket: Ticket | None, *, ok: bool | None, writing_s: float | None = None, tokens: int | None = None
) -> Outcome:
    """What a caller tells all schedulers of a request that it sent to ``node``."""
    return Outcome.model_construct(
        node_id=node.name,
        replica=f"{node.name}-0",
        model=MODEL,
        ok=ok,
        reason="silent" if ok is False else None,
        writing_s=writing_s,
        completion_tokens=tokens,
        ticket=ticket,
    )


@dataclass
class Live:
    """Chooses on the nodes as they truly are now; knows at once which are dead."""

    nodes: list[Node]
    pick: Callable[[list[Node], Request, float], Node]

    def choose(self, request: Request, now: float, tried: Sequence[int]) -> Chosen | None:
        living = [node for node in self.nodes if node.alive and node.place not in tried]
        return Chosen(self.pick(living, request, now).place) if living else None

    def hear(self, telemetry: NodeTelemetry, now: float) -> None: ...

    def ended(self, request: Request, place: int, begun_at: float, now: float, writing_s: float) -> None: ...

    def failed(self, request: Request, place: int, now: float) -> None: ...


def clairvoyant(nodes: list[Node], request: Request, now: float) -> Node:
    """The earliest true completion."""
    return min(nodes, key=lambda node: node.free_in_s(now) + node.job(request).total_s / node.speed)


def weight(node: Node) -> float:
    """Mean requests a second of the board, as an administrator would measure it once."""
    return node.board.slots / (1155 / node.board.read_per_s + 170 / node.board.write_per_s)


def connections(chance: random.Random, *, counting_itself: bool) -> Callable[[list[Node], Request, float], Node]:
    """Live requests over weight, the least; ties fall by weight."""
    own = 1 if counting_itself else 0

    def pick(nodes: list[Node], request: Request, now: float) -> Node:
        keys = [(node.load() + own) / weight(node) for node in nodes]
        least = min(keys)
        tied = [node for node, key in zip(nodes, keys, strict=True) if key == least]
        return chance.choices(tied, [weight(node) for node in tied])[0]

    return pick


def round_robin() -> Callable[[list[Node], Request, float], Node]:
    """Each in turn."""
    turn = -1

    def pick(nodes: list[Node], request: Request, now: float) -> Node:
        nonlocal turn
        turn += 1
        return nodes[turn % len(nodes)]

    return pick


def weighted_random(chance: random.Random) -> Callable[[list[Node], Request, float], Node]:
    """At random, by speed."""
    return lambda nodes, request, now: chance.choices(nodes, [weight(node) for node in nodes])[0]


UNHEARD_S = 1e6


@dataclass
class PeakEwma:
    """One client's view: latencies that it saw itself, and its own outstanding requests."""

    nodes: list[Node]
    chance: random.Random
    decay_s: float = 60.0
    cost: dict[int, tuple[float, float]] = field(default_factory=dict)
    outstanding: dict[int, int] = field(default_factory=dict)

    def choose(self, request: Request, now: float, tried: Sequence[int]) -> Chosen | None:
        places = [node.place for node in self.nodes if node.alive and node.place not in tried]
        if not places:
            return None
        pair = self.chance.sample(places, min(2, len(places)))
        taken = min(pair, key=lambda place: self._cost(place, now))
        self.outstanding[taken] = self.outstanding.get(taken, 0) + 1
        return Chosen(taken)

    def hear(self, telemetry: NodeTelemetry, now: float) -> None: ...

    def ended(self, request: Request, place: int, begun_at: float, now: float, writing_s: float) -> None:
        self.outstanding[place] -= 1
        seen, before = now - begun_at, self._ewma(place, now)
        share = math.exp(-(now - self.cost.get(place, (0.0, 0.0))[1]) / self.decay_s)
        self.cost[place] = (seen if seen > before else before * share + seen * (1 - share), now)

    def failed(self, request: Request, place: int, now: float) -> None:
        self.outstanding[place] = max(0, self.outstanding.get(place, 0) - 1)

    def _cost(self, place: int, now: float) -> float:
        """One that was never heard of and has work already is taken last."""
        outstanding = self.outstanding.get(place, 0)
        if place not in self.cost and outstanding:
            return UNHEARD_S + outstanding
        return self._ewma(place, now) * (outstanding + 1)

    def _ewma(self, place: int, now: float) -> float:
        """It decays when it is read."""
        seconds, at = self.cost.get(place, (0.0, now))
        return seconds * math.exp(-(now - at) / self.decay_s)


@dataclass
class Prequal:
    """Asynchronous probes of requests in flight and estimated latency, kept in a pool."""

    nodes: list[Node]
    chance: random.Random
    probes_a_request: int = 3
    pool_size: int = 16
    quantile: float = 0.84
    pool: list[tuple[int, int, float]] = field(default_factory=list)
    recent: list[int] = field(default_factory=list)

    def choose(self, request: Request, now: float, tried: Sequence[int]) -> Chosen | None:
        living = [node for node in self.nodes if node.alive]
        for node in self.chance.sample(living, min(self.probes_a_request, len(living))):
            self.pool = [probe for probe in self.pool if probe[0] != node.place]
            self.pool.append((node.place, node.load(), self._latency(node)))
            self.recent = [*self.recent[-127:], node.load()]
        usable = [p for p in self.pool if self.nodes[p[0]].alive and p[0] not in tried]
        if not usable:
            return None
        hot = sorted(self.recent)[min(len(self.recent) - 1, int(self.quantile * len(self.recent)))]
        cold = [probe for probe in usable if probe[1] < max(hot, 1)]
        taken = min(cold, key=lambda p: p[2]) if cold else min(usable, key=lambda p: p[1])
        self.pool = [(p, load + (p == taken[0]), latency) for p, load, latency in self.pool][-self.pool_size :]
        return Chosen(taken[0])

    def hear(self, telemetry: NodeTelemetry, now: float) -> None: ...

    def ended(self, request: Request, place: int, begun_at: float, now: float, writing_s: float) -> None: ...

    def failed(self, request: Request, place: int, now: float) -> None: ...

    def _latency(self, node: Node) -> float:
        """Its latency of late at that many in flight: what a server would have seen."""
        return (node.load() + 1) / weight(node)


def make(name: str, nodes: list[Node], chance: random.Random, silent_s: float) -> Chooser:
    """The chooser of that name. Raises KeyError."""
    if name in POLICIES:
        return Scheduler(nodes, name, chance, silent_s)
    if name == "peak_ewma":
        return PeakEwma(nodes, chance)
    if name == "prequal":
        return Prequal(nodes, chance)
    picks: dict[str, Callable[[list[Node], Request, float], Node]] = {
        "clairvoyant": clairvoyant,
        "weighted_least_connections": connections(chance, counting_itself=False),
        "shortest_expected_delay": connections(chance, counting_itself=True),
        "round_robin": round_robin(),
        "weighted_random": weighted_random(chance),
    }
    return Live(nodes, picks[name])


NAMES = (
    "clairvoyant",
    "expected_completion",
    "least_in_flight",
    "power_of_two",
    "shortest_expected_delay",
    "weighted_least_connections",
    "prequal",
    "peak_ewma",
    "weighted_random",
    "round_robin",
)
