"""A backend that takes its time over each answer, so that there is always one under way.

A plug-in: ``{"name": "slow", "backend": "tests.support.slow_backend:SlowBackend"}``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel


class SlowBackend:
    """``max_tokens`` words, ten a second; ``slots`` of them at a time."""

    name = "slow"

    def __init__(self, spec: Any) -> None:
        self.slots = spec.slots(2)
        self._model = ServedModel(name=spec.name, backend=self.name, context_tokens=32_768)

    async def load(self, changed: Callable[[], None]) -> None:
        return None

    def models(self) -> tuple[ServedModel, ...]:
        return (self._model,)

    def troubles(self) -> tuple[str, ...]:
        return ()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        words = request.sampling.max_tokens or 10
        for _ in range(words):
            await asyncio.sleep(0.1)
            yield GenerateChunk(text="word ")
        yield GenerateChunk(finish_reason="stop", usage=Usage(prompt_tokens=8, completion_tokens=words))

    async def close(self) -> None:
        return None
