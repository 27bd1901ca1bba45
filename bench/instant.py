"""A backend that answers at once with one 16-token chunk, so that a measurement shows the way and not the model.

Named in ``MONGARS_MODELS`` as ``{"name": "instant", "backend": "bench.instant:InstantBackend"}``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from bench.peers import ANSWER_TEXT, ANSWER_TOKENS
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel

ANSWER = GenerateChunk(
    text=ANSWER_TEXT, finish_reason="stop", usage=Usage(prompt_tokens=8, completion_tokens=ANSWER_TOKENS)
)


class InstantBackend:
    """Made from a model's specification, of which it takes the name."""

    name = "instant"
    slots = 64

    def __init__(self, spec: Any) -> None:
        self._model = ServedModel(name=spec.name, backend=self.name, context_tokens=32_768)

    async def load(self, changed: Callable[[], None]) -> None:
        return None

    def models(self) -> tuple[ServedModel, ...]:
        return (self._model,)

    def troubles(self) -> tuple[str, ...]:
        return ()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        yield ANSWER

    async def close(self) -> None:
        return None
