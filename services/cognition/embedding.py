"""Vectors for texts, from whichever replica embeds; a failed one is reported and the next is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from libs.shared.bus.base import Bus
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.scheduling import PLACE, Placement, PlaceRequest
from libs.shared.errors import NoNode, Preempted, ServiceError, TimedOut, Unavailable
from services.cognition.outcomes import Outcomes, is_of_the_replica
from services.cognition.room import Berth

ATTEMPTS = 3


class Embedder:
    """Embeds through PLACE and EMBED; ``preferred`` is the embedder for texts that may be embedded by any."""

    def __init__(self, bus: Bus, outcomes: Outcomes, preferred: Callable[[], str | None] = lambda: None) -> None:
        self._bus = bus
        self._outcomes = outcomes
        self._preferred = preferred

    async def embed(
        self,
        texts: Sequence[str],
        *,
        embedder: str | None = None,
        purpose: Literal["query", "passage"] = "passage",
        timeout_s: float | None = None,
        background: bool = False,
        berth: Berth | None = None,
    ) -> Embeddings:
        """One vector a text, by ``embedder`` (``name@version``; None: the preferred, else whichever is served); in
        the ``background`` they give way to texts that somebody waits for. The ``berth`` is tried first.

        Raises NoModel, ModelNotFound, NoNode, Unavailable, TimedOut, or the last replica's error; Preempted in the
        ``background``.
        """
        tried: list[str] = []
        failure: ServiceError | None = None
        embedder = embedder or self._preferred()
        model = self.model_for(embedder)
        while len(tried) < ATTEMPTS:
            try:
                placed = await self._placed(model, tried, berth)
            except NoNode as none_left:
                raise failure or none_left from None
            request = EmbedRequest(model=placed.model.name, texts=tuple(texts), background=background, purpose=purpose)
            try:
                found = await self._bus.request(EMBED, request, timeout_s=timeout_s, replica=placed.replica)
            except Preempted:
                raise  # it is well, and every other makes way, too
            except ServiceError as error:
                if not (background and isinstance(error, TimedOut)):  # that it had to wait is no fault of the replica
                    await self._outcomes.failed(placed, error)
                if not is_of_the_replica(error):
                    raise
                failure = error
            else:
                await self._outcomes.succeeded(placed)
                if embedder in (None, found.embedder):
                    return found
                failure = Unavailable("this node has another version of the embedder")
            if berth is not None:
                berth.failed()
            tried.append(placed.replica)
        assert failure is not None
        raise failure

    def model_for(self, embedder: str | None) -> str | None:
        """The name of the model that makes vectors of ``embedder``, or of the preferred; None: whichever is served."""
        embedder = embedder or self._preferred()
        return name_of(embedder) if embedder else None

    async def _placed(self, model: str | None, tried: Sequence[str], berth: Berth | None) -> Placement:
        if berth is not None and berth.placement is not None and model in (None, berth.placement.model.name):
            return berth.placement
        return await self._bus.request(PLACE, PlaceRequest(kind="embed", model=model, exclude=tuple(tried)))


def name_of(embedder: str) -> str:
    """Under which name ``name@version`` is served."""
    return embedder.partition("@")[0]
