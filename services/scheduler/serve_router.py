"""The scheduler's placement policy as Ray Serve's request router, for Ray clusters and for callers from outside.

Replicas may tell of all that they have by ``record_routing_stats`` (``{"ongoing": int, "slots": int}``). Every handle
and proxy has a router of its own, which learns from what it sends itself.
"""

from __future__ import annotations

import random
from time import monotonic
from typing import Any

from ray.serve.request_router import (
    FIFOMixin,
    MultiplexMixin,
    PendingRequest,
    ReplicaID,
    RequestRouter,
    RunningReplica,
)

from services.scheduler.policies import POLICIES, Ask, costs
from services.scheduler.serve_beliefs import Belief, best_of


class PlacingRouter(FIFOMixin, MultiplexMixin, RequestRouter):
    """``request_router_kwargs``: ``policy``, a name of the scheduler's policies."""

    def initialize_state(self, policy: str = "expected_completion", **_: Any) -> None:
        """Called by Serve once. Raises KeyError for an unknown policy."""
        self._policy = POLICIES[policy]
        self._ranks_all = policy == "expected_completion"
        self._beliefs: dict[ReplicaID, Belief] = {}

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """One replica a rank, the best first; one that is full passes the request on to the next."""
        replicas = self._fit(candidate_replicas, pending_request)
        if not replicas:
            return []
        now = monotonic()
        beliefs = [self._of(replica) for replica in replicas]
        best_s = best_of(beliefs)
        candidates = [
            belief.candidate(replica.replica_id.unique_id, best_s, now)
            for replica, belief in zip(replicas, beliefs, strict=True)
        ]
        ask = Ask(now, 1, 0)
        if self._ranks_all:
            price = costs(candidates, ask)
            order = sorted(range(len(replicas)), key=lambda place: (price[place], random.random()))  # noqa: S311
        else:
            taken = candidates.index(self._policy(candidates, ask, random.random()))  # noqa: S311
            order = [taken, *(place for place in range(len(replicas)) if place != taken)]
        return [[replicas[place]] for place in order]

    def _fit(self, replicas: list[RunningReplica], request: PendingRequest | None) -> list[RunningReplica]:
        """Those that have the asked-for adapter loaded, where Serve's multiplexing asks for one."""
        if request is None or not request.metadata.multiplexed_model_id:
            return replicas
        wanted = self.apply_multiplex_routing(pending_request=request)
        return [replica for replica in replicas if replica.replica_id in wanted]

    def _of(self, replica: RunningReplica) -> Belief:
        belief = self._beliefs.setdefault(replica.replica_id, Belief(slots=replica.max_ongoing_requests))
        belief.told(replica.routing_stats)
        return belief

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """Called by Serve."""
        if (belief := self._beliefs.get(replica_id)) is not None:
            belief.sent(pending_request.metadata.internal_request_id, monotonic())

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Called by Serve, for what ended well and for what did not."""
        if (belief := self._beliefs.get(replica_id)) is not None:
            belief.ended(internal_request_id, monotonic())

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """Called by Serve: what was believed of it is of no more use."""
        super().on_replica_actor_died(replica_id)
        self._beliefs.pop(replica_id, None)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Called by Serve whenever there are others: those that are gone are forgotten."""
        super().update_replicas(replicas)
        living = {replica.replica_id for replica in replicas}
        for gone in getattr(self, "_beliefs", {}).keys() - living:
            del self._beliefs[gone]
