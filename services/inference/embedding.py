"""The node's replica for embeddings, ``<node>-0``: every node has it, whatever else it serves."""

from __future__ import annotations

from collections.abc import Callable

from libs.shared.bus.base import Bus
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.telemetry import Replica as ReplicaState
from libs.shared.contracts.telemetry import ReplicaTelemetry, ServedModel
from libs.shared.errors import ModelNotFound
from services.inference.embedder import DIMENSIONS, EMBEDDER_ID, MAX_TOKENS, Embedder, check_embeddable
from services.inference.embedder_graph import EMBEDDER
from services.inference.replica import Identity

BACKEND = "minilm"
SLOTS = 32
"""Requests that one batch may hold; a batch is run while the next is gathered."""
BYTES_PER_TOKEN = 4.5
"""Of English and French in BERT's vocabulary."""


class EmbeddingReplica:
    """Serves EMBED on its own subject."""

    def __init__(self, identity: Identity, embedder: Embedder, changed: Callable[[bool], None]) -> None:
        self._identity = identity
        self._embedder = embedder
        self._changed = changed
        self._in_flight = 0
        self._tokens = 0
        self._sequence = 0

    async def serve(self, bus: Bus) -> None:
        """Loads the embedder and begins to answer."""
        await self._embedder.start()
        await bus.serve(EMBED, self.embed, replica=self._identity.replica)
        self._changed(True)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Raises ModelNotFound, Overloaded, InvalidRequest."""
        if request.model != EMBEDDER:
            raise ModelNotFound(f"this node embeds with {EMBEDDER}")
        check_embeddable(request.texts)
        tokens = sum(min(MAX_TOKENS, int(len(text) / BYTES_PER_TOKEN) + 2) for text in request.texts)
        self._count(1, tokens)
        try:
            vectors, prompt_tokens = await self._embedder.embed(request.texts, background=request.background)
        finally:
            self._count(-1, -tokens)
        return Embeddings(
            embedder=EMBEDDER_ID, dimensions=DIMENSIONS, vectors=tuple(vectors), prompt_tokens=prompt_tokens
        )

    def snapshot(self) -> ReplicaTelemetry:
        """The replica's state; it has no model before the embedder is loaded."""
        self._sequence += 1
        served = (_MODEL,) if self._embedder.ready else ()
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
                in_flight_tokens=self._tokens,
                slots=SLOTS,
            ),
            models=served,
        )

    def _count(self, requests: int, tokens: int) -> None:
        before = self._in_flight
        self._in_flight += requests
        self._tokens += tokens
        self._changed(max(before, self._in_flight) > SLOTS)


_MODEL = ServedModel(
    name=EMBEDDER,
    backend=BACKEND,
    kind="embed",
    context_tokens=MAX_TOKENS,
    bytes_per_token=BYTES_PER_TOKEN,
    dimensions=DIMENSIONS,
)
