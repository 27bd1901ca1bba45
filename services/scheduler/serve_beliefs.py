"""What a router inside Ray Serve believes of each replica, from the requests that it sent there itself. Pure.

Serve tells a router when a request was sent and when it ended, and nothing of its size: every request is taken for the
usual one, and how long that takes at each replica is what the router has to learn.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from libs.shared.contracts.telemetry import ServedModel
from services.scheduler.candidates import Candidate, NodeView, Queue, ReplicaView

NEWEST_WEIGHT = 0.2
FIRST_S = 0.05
"""How long a request is taken to need before any has ended."""
FORGET_S = 30.0
"""So long after a replica was last tried, half of what sets it apart from the best one is forgotten: without that one
that was slow once would never be tried again."""
SHORTEST_S = 1e-4
FAILED_SHARE = 0.1
"""Of the usual time; what ends sooner is taken for a failure, which must not make its replica look quick."""
_MODEL = ServedModel(name="served", backend="ray", context_tokens=0)


@dataclass(eq=False)
class Belief:
    """One replica. Times are on the router's monotonic clock, in seconds."""

    slots: int = 1
    usual_s: float | None = None
    """None: no request has ended there."""
    learnt_at: float = 0.0
    elsewhere: int = 0
    """Requests that it has of others, as it last told."""
    stats: object = None
    """What it told last: the same is not taken in twice."""
    _sent: dict[Hashable, tuple[float, bool]] = field(default_factory=dict)
    """Request → when it was sent, and whether it had to wait."""
    _last_end: float = 0.0

    @property
    def load(self) -> int:
        """Requests there, as far as is known."""
        return len(self._sent) + self.elsewhere

    def sent(self, request: Hashable, now: float) -> None:
        """A request was sent there."""
        self._sent[request] = now, self.load >= self.slots

    def ended(self, request: Hashable, now: float) -> None:
        """It ended, well or not: Serve doesn't say which, so that what ended far too soon teaches nothing."""
        if (sent := self._sent.pop(request, None)) is None:
            return
        began, waited = sent
        took = now - (max(began, self._last_end) if waited else began)
        took = max(SHORTEST_S, took * (self.slots if waited else 1))
        if took >= FAILED_SHARE * (self.usual_s or FIRST_S):
            self.usual_s = took if self.usual_s is None else self.usual_s + NEWEST_WEIGHT * (took - self.usual_s)
            self.learnt_at = now
        self._last_end = now

    def told(self, stats: Mapping[str, Any]) -> None:
        """What the replica itself says: ``ongoing``, all that it has, of whomever; ``slots``."""
        if not stats or stats is self.stats:
            return
        self.stats = stats
        self.slots = max(1, int(stats.get("slots", self.slots)))
        self.elsewhere = max(0, int(stats.get("ongoing", 0)) - len(self._sent))

    def expected_s(self, best_s: float, now: float) -> float:
        """How long a request is expected to take there; ``best_s`` is that of the best replica."""
        if self.usual_s is None:
            return best_s
        return best_s + (self.usual_s - best_s) * math.pow(0.5, (now - self.learnt_at) / FORGET_S)

    def candidate(self, name: str, best_s: float, now: float) -> Candidate:
        """As the scheduler's policies see it: a prompt of one token is the usual request."""
        usual_s = self.expected_s(best_s, now)
        replica = ReplicaView(name, frozenset(), self.load, 0, 0, self.slots, draining=False)
        node = NodeView(name, now, False, False, None, (replica,), {})
        candidate = Candidate(node, replica, _MODEL, Queue(), load=self.load, slots=self.slots, heard_at=now)
        candidate.s_per_prompt_token, candidate.later = usual_s, 1.0 / usual_s
        candidate.queue_up()
        candidate.free_at = now + self.load * usual_s / self.slots
        return candidate


def best_of(beliefs: list[Belief]) -> float:
    """The shortest that any of them was found to take."""
    return min((belief.usual_s for belief in beliefs if belief.usual_s is not None), default=FIRST_S)
