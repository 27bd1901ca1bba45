"""The simulated network: requests come, are placed, worked on, lost with their nodes and tried again."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from bench.scheduling.boards import Board
from bench.scheduling.choosers import Chooser, Chosen, Scheduler, make, outcome
from bench.scheduling.copies import Copies
from bench.scheduling.node import Job, Node
from bench.scheduling.workload import Request
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import Outcome as Told
from libs.shared.contracts.scheduling import Placed
from libs.shared.contracts.telemetry import NodeTelemetry
from services.cognition.hedging import MEASURED, Hedge

ATTEMPTS = 3
OUTCOME_S = 0.05
"""How old a caller's word of an end is when the schedulers hear it."""
NOTICED_S = 30.0
"""After so long without a token a caller gives a node up (the stream's idle time-out)."""


NEVER = Hedge(None, "tried_again")
"""Of a copy, and where there is no hedging."""


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
    settings: RuntimeSettings = field(default_factory=RuntimeSettings)
    """For hedging, and for what others' waiting weighs."""


@dataclass
class Outcome:
    """Seconds from coming to the last token of each answered request, by its number; and who was not answered when."""

    answered: dict[int, float] = field(default_factory=dict)
    failed: list[float] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    """Node → requests answered there."""
    busy_s: float = 0.0
    """What all nodes worked on answers that reached their end."""

    def percentile(self, share: float, warm_up: float = 0.1) -> float:
        """Of those after the warm-up, in seconds."""
        first = int(warm_up * (len(self.answered) + len(self.failed)))
        kept = sorted(seconds for number, seconds in self.answered.items() if number >= first)
        return kept[min(len(kept) - 1, int(share * len(kept)))]


@dataclass(slots=True, eq=False)
class _Attempt:
    """A request on its way."""

    request: Request
    chooser: Chooser
    chosen: Chosen
    at: float
    tried: tuple[int, ...]
    job: Job
    rival: _Attempt | None = None
    """The same request at another node, while neither has given a token."""
    second: bool = False
    over: bool = False
    """The other copy was quicker."""
    hedge: Hedge = NEVER

    @property
    def place(self) -> int:
        return self.chosen.place


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
            if isinstance(chooser, Scheduler):
                chooser.others = conditions.settings.placement_others
                if conditions.told_s is not None:
                    chooser.tell = self._gossip
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._under_way: dict[Job, _Attempt] = {}
        self._left = 0
        self.copies = Copies(conditions.settings)
        self.outcome = Outcome()

    @property
    def schedulers(self) -> list[Scheduler]:
        """Those that are the product's own."""
        return [chooser for chooser in self._choosers if isinstance(chooser, Scheduler)]

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
        attempt = _Attempt(request, chooser, placed, now, tried, self.nodes[placed.place].job(request))
        if not tried:
            self.copies.earn()
        if self.nodes[placed.place].alive:
            self._take(attempt, now)
            self._watch(attempt, now)
        else:  # nobody listens there: the caller is told at once
            self._gave_up(attempt, now)

    def _take(self, attempt: _Attempt, now: float) -> None:
        node = self.nodes[attempt.place]
        self._under_way[attempt.job] = attempt
        for begun in node.take(attempt.job, now, attempt.chosen.ticket):
            self._plan(node, begun)

    def _plan(self, node: Node, job: Job) -> None:
        version = job.version
        self._at(node.end_of(job), lambda now: self._end(node, job, version, now))
        if self._conditions.settings.hedging and not job.spoke:
            self._at(node.first_of(job), lambda now: self._speak(node, job, version, now))

    def _watch(self, attempt: _Attempt, now: float) -> None:
        """Sends the request to a second node once it is late."""
        if not self._conditions.settings.hedging:
            return
        attempt.hedge = self.copies.hedge(attempt.request, attempt.chosen, len(attempt.tried))
        if attempt.hedge.after_s is not None:
            self._at(now + attempt.hedge.after_s, lambda later: self._hedge(attempt, later))

    def _hedge(self, first: _Attempt, now: float) -> None:
        """Again after twice the time, while no other node would be quick enough or the budget is spent."""
        if first.job.spoke or self._under_way.get(first.job) is not first:
            return
        chosen = self._elsewhere(first, now)
        if chosen is None:
            self._at(now + (now - first.at), lambda later: self._hedge(first, later))
            return
        self.copies.count("sent")
        job = self.nodes[chosen.place].job(first.request)
        second = _Attempt(first.request, first.chooser, chosen, now, first.tried, job, first, second=True)
        first.rival = second
        self._take(second, now)

    def _elsewhere(self, first: _Attempt, now: float) -> Chosen | None:
        """Where its second copy goes, within the budget."""
        if not self.copies.budget.spend():
            self.copies.count("no_budget")
            return None
        assert isinstance(first.chooser, Scheduler)
        waited_s = now - first.at
        chosen = first.chooser.place(first.request, now, first.tried, beside=(first.place,), first_within_s=waited_s)
        if chosen is None or not self.nodes[chosen.place].alive:
            self.copies.budget.give_back()
            self.copies.count("no_node")
            return None
        return chosen

    def _speak(self, node: Node, job: Job, version: int, now: float) -> None:
        """A first token: the other copy is stopped."""
        if job.version != version or job not in node.running or job.spoke:
            return
        job.spoke = True
        attempt = self._under_way[job]
        first = attempt.rival if attempt.second and attempt.rival is not None else attempt
        if first.hedge.why in MEASURED:
            self.copies.came(now - first.at, first.chosen)
        if (loser := attempt.rival) is not None:
            self.copies.count("won" if attempt.second else "lost")
            attempt.rival = loser.rival = None
            self._stop(loser, now)

    def _stop(self, loser: _Attempt, now: float) -> None:
        node, job, loser.over = self.nodes[loser.place], loser.job, True
        if self._under_way.pop(job, None) is None:
            return  # it died with its node
        if job in node.running:
            assert job.begun is not None
            self.copies.wasted_s += now - job.begun
        for begun in node.cancel(job, now):
            self._plan(node, begun)
        self._tell_outcome(outcome(node, loser.chosen.ticket, ok=None), now)

    def _end(self, node: Node, job: Job, version: int, now: float) -> None:
        if job.version != version or job not in node.running:
            return
        node.end(job, now)
        attempt = self._under_way.pop(job)
        assert job.begun is not None
        self.outcome.busy_s += now - job.begun
        writing_s = (now - job.begun) * (1 - job.read_s / job.total_s)
        attempt.chooser.ended(job.request, node.place, attempt.at, now, writing_s)
        tokens = job.request.answer_tokens
        self._tell_outcome(outcome(node, attempt.chosen.ticket, ok=True, writing_s=writing_s, tokens=tokens), now)
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
                attempt = self._under_way.pop(job)
                self._at(now + NOTICED_S, lambda later, attempt=attempt: self._gave_up(attempt, later))  # type: ignore[misc]
        else:
            for job in node.change_speed(event.speed, now):
                self._plan(node, job)

    def _gave_up(self, attempt: _Attempt, now: float) -> None:
        attempt.chooser.failed(attempt.request, attempt.place, now)
        self._tell_outcome(outcome(self.nodes[attempt.place], attempt.chosen.ticket, ok=False), now)
        if (rival := attempt.rival) is not None:  # which goes on alone
            rival.rival = attempt.rival = None
            return
        if attempt.over:
            return
        self._place(attempt.request, now, (*attempt.tried, attempt.place))
