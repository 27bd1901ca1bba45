"""The simulated network: requests come, are placed, worked on, lost with their nodes and tried again."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from bench.scheduling.boards import Board
from bench.scheduling.choosers import Chooser, Scheduler, make, outcome
from bench.scheduling.node import Job, Node
from bench.scheduling.workload import Request
from libs.shared.contracts.scheduling import Outcome as Told
from libs.shared.contracts.scheduling import Placed, Ticket
from libs.shared.contracts.telemetry import NodeTelemetry

ATTEMPTS = 3
OUTCOME_S = 0.05
"""How old a caller's word of an end is when the schedulers hear it."""
NOTICED_S = 30.0
"""After so long without a token a caller gives a node up (the stream's idle time-out)."""


@dataclass(frozen=True)
class Event:
    """Something that befalls a node: ``speed`` from then on, 0 for death, None for coming back."""

    at: float
    place: int
    speed: float | None


@dataclass(frozen=True)
class Conditions:
    """How telemetry travels, in seconds, and what happens to the nodes."""

    schedulers: int = 1
    every_s: float = 1.0
    age_s: float = 5.0
    jitter_s: float = 0.0
    """Up to so much later: telemetry then overtakes itself."""
    lost: float = 0.0
    told_s: float | None = 0.05
    """How old a scheduler's word of a placement is when the others hear it; None: they never do."""
    events: tuple[Event, ...] = ()
    known: bool = False
    """Whether every node has answered a usual request before, and so knows how fast it is."""


@dataclass
class Outcome:
    """Seconds from coming to the last token of each answered request, by its number; and who was not answered when."""

    answered: dict[int, float] = field(default_factory=dict)
    failed: list[float] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    """Node → requests answered there."""

    def percentile(self, share: float, warm_up: float = 0.1) -> float:
        """Of those after the warm-up, in seconds."""
        first = int(warm_up * (len(self.answered) + len(self.failed)))
        kept = sorted(seconds for number, seconds in self.answered.items() if number >= first)
        return kept[min(len(kept) - 1, int(share * len(kept)))]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A request on its way."""

    request: Request
    chooser: Chooser
    place: int
    at: float
    tried: tuple[int, ...]
    ticket: Ticket | None


class Simulation:
    """One run; deterministic by its seed."""

    def __init__(self, fleet: Sequence[Board], policy: str, conditions: Conditions, seed: int) -> None:
        self._conditions = conditions
        self._chance = random.Random(seed)
        self.nodes = [Node(place, board) for place, board in enumerate(fleet)]
        if conditions.known:
            for node in self.nodes:
                node.learn(1155, 211)
        silent_s = 3.0 * conditions.every_s + conditions.age_s + conditions.jitter_s
        self._choosers = [make(policy, self.nodes, self._chance, silent_s) for _ in range(conditions.schedulers)]
        for chooser in self._choosers:
            if isinstance(chooser, Scheduler) and conditions.told_s is not None:
                chooser.tell = self._gossip
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._under_way: dict[int, _Attempt] = {}
        self._jobs: dict[int, Job] = {}
        self._left = 0
        self.outcome = Outcome()

    def run(self, requests: Sequence[Request]) -> Outcome:
        """Until every request is answered or given up."""
        self._left = len(requests)
        for node in self.nodes if any(isinstance(chooser, Scheduler) for chooser in self._choosers) else ():
            self._hear(node, 0.0)
            self._at(self._chance.random() * self._conditions.every_s, self._telling(node))
        for event in self._conditions.events:
            self._at(event.at, lambda now, event=event: self._befall(event, now))  # type: ignore[misc]
        for request in requests:
            self._at(request.at, lambda now, request=request: self._place(request, now, ()))  # type: ignore[misc]
        while self._left and self._heap:
            now, _, act = heapq.heappop(self._heap)
            act(now)
        return self.outcome

    def _at(self, at: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._heap, (at, next(self._order), act))

    def _telling(self, node: Node) -> Callable[[float], None]:
        """A node's word each ``every_s``; it comes in ``age_s`` later, or never."""
        conditions, chance = self._conditions, self._chance

        def tell(now: float) -> None:
            self._at(now + conditions.every_s, tell)
            if not node.alive:
                return
            word = node.telemetry(now)
            if chance.random() >= conditions.lost:
                delay_s = conditions.age_s + conditions.jitter_s * chance.random()
                self._at(now + delay_s, lambda later: self._heard(word, later))

        return tell

    def _gossip(self, placed: Placed, now: float) -> None:
        """Every scheduler hears of it, the one that says it too, unless the word is lost."""
        assert self._conditions.told_s is not None
        for hearer in self._hearers():
            self._at(now + self._conditions.told_s, lambda later, hearer=hearer: hearer.heard(placed, later))  # type: ignore[misc]

    def _tell_outcome(self, told: Told, now: float) -> None:
        """A caller's word reaches each scheduler a little later, or never."""
        for hearer in self._hearers():
            self._at(now + OUTCOME_S, lambda later, hearer=hearer: hearer.told(told, later))  # type: ignore[misc]

    def _hearers(self) -> Iterator[Scheduler]:
        """The schedulers that a word reaches."""
        for chooser in self._choosers:
            if isinstance(chooser, Scheduler) and self._chance.random() >= self._conditions.lost:
                yield chooser

    def _hear(self, node: Node, now: float) -> None:
        self._heard(node.telemetry(now), now)

    def _heard(self, word: NodeTelemetry, now: float) -> None:
        for chooser in self._choosers:
            chooser.hear(word, now)

    def _place(self, request: Request, now: float, tried: tuple[int, ...]) -> None:
        chooser = self._choosers[self._chance.randrange(len(self._choosers))]
        placed = chooser.choose(request, now, tried) if len(tried) < ATTEMPTS else None
        if placed is None:
            self.outcome.failed.append(now)
            self._left -= 1
            return
        place, ticket = placed
        attempt = _Attempt(request, chooser, place, now, tried, ticket)
        if self.nodes[place].alive:
            self._take(attempt, now, ticket)
        else:  # nobody listens there: the caller is told at once
            self._gave_up(attempt, now)

    def _take(self, attempt: _Attempt, now: float, ticket: Ticket | None) -> None:
        node = self.nodes[attempt.place]
        job = node.job(attempt.request)
        self._under_way[attempt.request.number], self._jobs[attempt.request.number] = attempt, job
        for begun in node.take(job, now, ticket):
            self._plan(node, begun)

    def _plan(self, node: Node, job: Job) -> None:
        version = job.version
        self._at(node.end_of(job), lambda now: self._end(node, job, version, now))

    def _end(self, node: Node, job: Job, version: int, now: float) -> None:
        if job.version != version or job not in node.running:
            return
        node.end(job, now)
        attempt = self._under_way.pop(job.request.number)
        assert job.begun is not None
        writing_s = (now - job.begun) * (1 - job.read_s / job.total_s)
        attempt.chooser.ended(job.request, node.place, attempt.at, now, writing_s)
        tokens = job.request.answer_tokens
        self._tell_outcome(outcome(node, attempt.ticket, ok=True, writing_s=writing_s, tokens=tokens), now)
        self.outcome.answered[job.request.number] = now - job.request.at
        self.outcome.places[node.place] = self.outcome.places.get(node.place, 0) + 1
        self._left -= 1
        for begun in node.next(now):
            self._plan(node, begun)

    def _befall(self, event: Event, now: float) -> None:
        node = self.nodes[event.place]
        if event.speed is None:
            node.come_back()
            node.speed = 1.0
        elif event.speed == 0:
            for job in node.die():
                job.version += 1
                attempt = self._under_way.pop(job.request.number)
                self._at(now + NOTICED_S, lambda later, attempt=attempt: self._gave_up(attempt, later))  # type: ignore[misc]
        else:
            for job in node.change_speed(event.speed, now):
                self._plan(node, job)

    def _gave_up(self, attempt: _Attempt, now: float) -> None:
        attempt.chooser.failed(attempt.request, attempt.place, now)
        self._tell_outcome(outcome(self.nodes[attempt.place], attempt.ticket, ok=False), now)
        self._place(attempt.request, now, (*attempt.tried, attempt.place))
