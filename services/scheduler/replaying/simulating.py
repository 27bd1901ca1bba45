"""Arrivals placed on servers by the scheduler's own policies, and worked on as the servers are believed to work. Pure.

What is ahead at a replica is reckoned from the requests under way, whose ends are known (``Candidate.follow``); an
answer's length is known to nobody before its end. Nodes work at the pace that they are believed to have now, and an
adapter's loading isn't replayed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from libs.shared.contracts.replaying_placements import Way
from libs.shared.contracts.scheduling import Ticket
from libs.shared.contracts.telemetry import ServedModel
from services.scheduler.affinity import Sessions
from services.scheduler.candidates import Candidate, NodeView, Queue, ReplicaView, Usual
from services.scheduler.pace import Pace
from services.scheduler.policies import POLICIES, Ask
from services.scheduler.replaying.exchange import Arrival, Replayed, ReplayJob, Server

SEED = 7
SELF = "replay"


@dataclass
class _Work:
    """A request at a replica."""

    number: int
    arrival: Arrival
    ticket: int
    seconds: float


@dataclass
class _Place:
    """A replica: its candidates, and what it works on."""

    slots: int
    candidates: list[Candidate] = field(default_factory=list)
    running: int = 0
    waiting: deque[_Work] = field(default_factory=deque)


class Simulation:
    """One way, over all arrivals; deterministic."""

    def __init__(self, servers: Sequence[Server], arrivals: Sequence[Arrival], way: Way) -> None:
        self._way = way
        self._chance = random.Random(SEED)  # noqa: S311 - settles ties; the same in every way
        self._places: dict[str, _Place] = {}
        self._by_model: dict[str, list[Candidate]] = {}
        self._sessions = Sessions()
        self._ends: list[tuple[float, int, _Work, str]] = []
        self._usual = _usual(arrivals)
        self._seconds: list[float | None] = [None] * len(arrivals)
        for server in servers:
            self._add(server)

    def run(self, arrivals: Sequence[Arrival]) -> list[float | None]:
        """Seconds from each one's coming to its answer's end; None where nobody has its model."""
        for number, arrival in enumerate(arrivals):
            self._work_until(arrival.at)
            self._place(number, arrival)
        self._work_until(float("inf"))
        return self._seconds

    def _add(self, server: Server) -> None:
        place = self._places.setdefault(server.replica, _Place(server.slots))
        queue = place.candidates[0].queue if place.candidates else Queue()
        model = ServedModel(name=server.model, backend="replayed", context_tokens=1, caches_prefix=server.caches_prefix)
        view = ReplicaView(server.replica, frozenset({server.model}), 0, 0, 0, server.slots, draining=False)
        node = NodeView(server.node, 0.0, False, False, None, (view,), {server.model: model}, server.on_battery)
        candidate = Candidate(node, view, model, queue)
        pace = Pace(server.s_per_prompt_token, server.s_per_answer_token, server.answer_tokens)
        candidate.reckon(pace, self._usual.get(server.model, Usual()), 0.0, ())
        place.candidates.append(candidate)
        self._by_model.setdefault(server.model, []).append(candidate)

    def _place(self, number: int, arrival: Arrival) -> None:
        candidates = self._by_model.get(arrival.model)
        if not candidates:
            return
        warm = self._sessions.get(arrival.session)
        ask = Ask(arrival.at, arrival.prompt_tokens, arrival.max_tokens, warm, None, self._way.others)
        taken = POLICIES[self._way.policy](candidates, ask, self._chance.random())
        replica = taken.replica.replica
        unread = arrival.prompt_tokens
        if warm is not None and warm.replica == replica and taken.model.caches_prefix:
            unread = max(0, unread - int(warm.tokens))
        expected = taken.expected_answer(arrival.max_tokens)
        written = expected if arrival.answer_tokens is None else arrival.answer_tokens
        ticket = Ticket(scheduler=SELF, number=number + 1)
        sent = taken.takes(ticket, arrival.at, unread, expected, adapter=None)
        taken.queue.under_way.begin(sent)
        lasting = arrival.prompt_tokens + written if arrival.lasting_tokens is None else arrival.lasting_tokens
        self._sessions.placed(arrival.session, replica, taken.slots, lasting)
        place = self._places[replica]
        place.waiting.append(_Work(number, arrival, ticket.number, taken.work_s(unread, written)))
        self._begin(replica, place, arrival.at)
        self._follow(place, arrival.at)

    def _begin(self, replica: str, place: _Place, now: float) -> None:
        while place.waiting and place.running < place.slots:
            work = place.waiting.popleft()
            place.running += 1
            heapq.heappush(self._ends, (now + work.seconds, work.number, work, replica))

    def _work_until(self, until: float) -> None:
        while self._ends and self._ends[0][0] <= until:
            now, _, work, replica = heapq.heappop(self._ends)
            self._seconds[work.number] = now - work.arrival.at
            place = self._places[replica]
            place.running -= 1
            place.candidates[0].queue.under_way.end((SELF, work.ticket), now, place.slots)
            self._begin(replica, place, now)
            self._follow(place, now)

    @staticmethod
    def _follow(place: _Place, now: float) -> None:
        for candidate in place.candidates:
            candidate.follow(now)


def _usual(arrivals: Iterable[Arrival]) -> dict[str, Usual]:
    """By model, as the scheduler comes to reckon it."""
    found: dict[str, Usual] = {}
    for one in arrivals:
        answer = Usual().answer_tokens if one.answer_tokens is None else one.answer_tokens
        found[one.model] = found.get(one.model, Usual()).after(one.prompt_tokens, answer)
    return found


def replayed(job: ReplayJob) -> Replayed:
    """Every way over the same arrivals."""
    ways = [Simulation(job.servers, job.arrivals, way).run(job.arrivals) for way in job.ways]
    return Replayed(seconds=tuple(tuple(seconds) for seconds in ways))
