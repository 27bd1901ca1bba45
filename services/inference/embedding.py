"""The node's replica for embeddings, ``<node>-0``: every node has it, whatever else it serves."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.scheduling import PREEMPT, Preempt
from libs.shared.contracts.telemetry import Replica as ReplicaState
from libs.shared.contracts.telemetry import ReplicaTelemetry
from libs.shared.errors import Preempted
from services.inference.embedder import check_embeddable
from services.inference.embedders import BYTES_PER_TOKEN, Embedders
from services.inference.replica import Identity

SLOTS = 32
"""Requests that one batch may hold; a batch is run while the next is gathered."""

ON_THE_WAY_S = 0.1
"""For so long after somebody asked something, work may come for which nobody waits, sent by who hadn't heard of it."""


class EmbeddingReplica:
    """Serves EMBED on its own subject."""

    def __init__(self, identity: Identity, embedders: Embedders, changed: Callable[[bool], None]) -> None:
        self._identity = identity
        self._embedders = embedders
        self._changed = changed
        self._in_flight = 0
        self._background = 0
        self._tokens = 0
        self._awaited_tokens = 0
        self._sequence = 0
        self._preempted_until = float("-inf")

    async def serve(self, bus: Bus) -> None:
        """Begins to answer for the installed embedders, and for the built-in one once it is loaded; raises what
        loading that one raises."""
        await bus.serve(EMBED, self.embed, replica=self._identity.replica)
        await bus.subscribe(PREEMPT, self.preempted)
        await self._embedders.start()

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Raises ModelNotFound, ModelDoesNotFit, Overloaded, InvalidRequest; Preempted in the background."""
        if request.background and monotonic() < self._preempted_until:
            raise Preempted("somebody waits for an answer")
        check_embeddable(request.texts)
        most = self._embedders.most_tokens(request.model)
        tokens = sum(min(most, int(len(text) / BYTES_PER_TOKEN) + 2) for text in request.texts)
        awaited = 0 if request.background else tokens
        self._background += request.background
        self._awaited_tokens += awaited
        self._count(1, tokens)
        try:
            spec, vectors, prompt_tokens = await self._embedders.embed(
                request.model, request.texts, request.purpose, background=request.background
            )
        finally:
            self._background -= request.background
            self._awaited_tokens -= awaited
            self._count(-1, -tokens)
        return Embeddings(
            embedder=spec.id,
            dimensions=len(vectors[0]) // 4,
            vectors=tuple(vectors),
            prompt_tokens=prompt_tokens,
        )

    async def preempted(self, _: Preempt) -> None:
        """PREEMPT: an api has taken a request."""
        self._preempted_until = monotonic() + ON_THE_WAY_S
        self._embedders.stop_background()

    def snapshot(self) -> ReplicaTelemetry:
        """The replica's state; it has no model before the first embedder can be asked."""
        self._sequence += 1
        served = self._embedders.served()
        waiting = max(0, self._in_flight - SLOTS)
        return ReplicaTelemetry(
            node_id=self._identity.node_id,
            sequence=self._sequence,
            boot_id=self._identity.boot_id,
            state=ReplicaState(
                replica=self._identity.replica,
                models=tuple(model.name for model in served),
                in_flight=self._in_flight - waiting,
                queued=waiting,
                background=self._background,
                in_flight_tokens=self._tokens,
                to_read_tokens=self._awaited_tokens,
                slots=SLOTS,
            ),
            models=served,
        )

    def _count(self, requests: int, tokens: int) -> None:
        before = self._in_flight
        self._in_flight += requests
        self._tokens += tokens
        self._changed(max(before, self._in_flight) > SLOTS)
