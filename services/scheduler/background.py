"""Whether a node has room, heat and power for work that nobody waits for, and why not. Pure.

Each reason holds for a bounded time: memories become searchable some time on a busy, hot or unplugged machine, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.scheduler.candidates import Candidate, NodeView
from services.scheduler.pace import HOT_C
from services.scheduler.placement import Decision
from services.scheduler.registry import Snapshot

QUIET_S = 0.5
"""A node that was given a request so lately may be about to get the next: one turn asks for several things."""
REQUESTS_S = 60.0
"""After so long a job no longer goes behind requests."""
MACHINE_S = 600.0
"""And after so long it no longer spares the machine."""
COOL_S = 10.0
"""Heat and power change no faster than that."""
HOLDS_S = {
    "throttled": MACHINE_S,
    "hot": MACHINE_S,
    "on_battery": MACHINE_S,
    "over_power_budget": MACHINE_S,
    "busy": REQUESTS_S,
    "recent_request": REQUESTS_S,
}
"""Reason → how long it holds a job back."""
PASSED_OVER = "passed_over"


@dataclass(frozen=True, slots=True)
class Room:
    """The replica that a job may use, or when to ask again; and why each other node was not taken."""

    choice: Candidate | None
    retry_after_s: float = 0.0
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Node → reason."""

    @property
    def reasons(self) -> dict[str, int]:
        """Reason → how many nodes it ruled out."""
        return dict(Counter(self.rejected.values()))

    def reason(self, candidate: Candidate) -> str | None:
        """Why it was not taken; None: it was."""
        return None if candidate is self.choice else self.rejected.get(candidate.node.node_id, PASSED_OVER)


@dataclass(frozen=True, slots=True)
class MachineRoom:
    """Why work must not run on a machine now, and when to ask again; None: it may."""

    reason: str | None
    retry_after_s: float = 0.0


def holds_back(node: NodeView, snapshot: Snapshot, now: float) -> str | None:
    """Why a job should not run on a node that may take requests; None when it may."""
    if node.throttled:
        return "throttled"
    if node.temperature_c is not None and node.temperature_c >= HOT_C:
        return "hot"
    if node.on_battery:
        return "on_battery"
    if node.over_power_budget:
        return "over_power_budget"
    if any(replica.load for replica in node.replicas):
        return "busy"
    placed_at = snapshot.placed_at.get(node.node_id)
    if placed_at is not None and (now - placed_at < QUIET_S or placed_at >= node.heard_at):
        return "recent_request"  # one that no telemetry can have shown yet may still be at work
    return None


def find_room(decision: Decision, snapshot: Snapshot, now: float, *, waited_s: float) -> Room:
    """``decision`` is what a request for the same model would get: where that has no choice, there is no room either.

    Of several nodes with room the one is taken that has the fewest jobs and got no request for the longest.
    """
    held = {c.node.node_id: holds_back(c.node, snapshot, now) for c in decision.usable}
    free = [c for c in decision.usable if held[c.node.node_id] is None]
    free = free or [c for c in decision.usable if waited_s >= HOLDS_S[held[c.node.node_id] or ""]]
    rejected = {node: reason or PASSED_OVER for node, reason in held.items()}
    for candidate in decision.all:
        if (reason := decision.ruled_out.get(candidate.replica.replica)) is not None:
            rejected.setdefault(candidate.node.node_id, reason)
    if not free:
        return Room(None, _again_s(held, snapshot, now), rejected)
    choice = min(free, key=lambda c: _preference(c, snapshot))
    del rejected[choice.node.node_id]
    return Room(choice, 0.0, rejected)


def machine_room(node_id: str | None, snapshot: Snapshot, now: float, *, waited_s: float) -> MachineRoom:
    """Whether the machine of that node has room for work that needs none of its models; one that nobody has heard of
    serves no requests, and nothing is known of its heat."""
    node = snapshot.nodes.get(node_id) if node_id is not None else None
    reason = None if node is None else holds_back(node, snapshot, now)
    if node is None or reason is None or waited_s >= HOLDS_S[reason]:
        return MachineRoom(None)
    return MachineRoom(reason, _again_s({node.node_id: reason}, snapshot, now))


def _preference(candidate: Candidate, snapshot: Snapshot) -> tuple[int, float, str]:
    placed_at = snapshot.placed_at.get(candidate.node.node_id, float("-inf"))
    return candidate.replica.background, placed_at, candidate.replica.replica


def _again_s(held: Mapping[str, str | None], snapshot: Snapshot, now: float) -> float:
    """When the first of the nodes may have room."""
    if any(reason == "busy" for reason in held.values()):
        return QUIET_S
    recent = [now - snapshot.placed_at[node] for node, reason in held.items() if reason == "recent_request"]
    if recent:
        return max(QUIET_S - max(recent), QUIET_S / 5)
    return COOL_S
