"""A plug-in backend that takes as long as a board would: for fleets of real processes on one machine.

The prompt's size says how long it reads; its first word, ``answer=N``, how many tokens it writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from services.inference.backends.base import Changed, prompt_bytes
from services.inference.models import ModelSpec

BYTES_PER_TOKEN = 3.0
CHUNK_TOKENS = 4
"""Written at once, so that eight boards' tokens don't take all of the machine that plays them."""


class Throttled:
    """``options``: ``read_per_s``, ``write_per_s``, ``slots``, and ``speed``: a file with a factor, 1 when empty."""

    def __init__(self, spec: ModelSpec) -> None:
        self.name = "throttled"
        self.slots = spec.slots(1)
        self._model = ServedModel(
            name=spec.name, backend=self.name, context_tokens=32_768, bytes_per_token=BYTES_PER_TOKEN
        )
        self._read_per_s = float(spec.options["read_per_s"])
        self._write_per_s = float(spec.options["write_per_s"])
        self._speed = Path(spec.options["speed"])

    async def load(self, changed: Changed) -> None: ...

    def models(self) -> tuple[ServedModel, ...]:
        return (self._model,)

    def troubles(self) -> tuple[str, ...]:
        return ()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        tokens = int(prompt_bytes(request) / BYTES_PER_TOKEN)
        wanted = int(request.messages[-1].text.split(" ", 1)[0].removeprefix("answer="))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(tokens / self._read_per_s / self._factor())
        due = loop.time()
        for written in range(0, wanted, CHUNK_TOKENS):
            due += min(CHUNK_TOKENS, wanted - written) / self._write_per_s / self._factor()
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield GenerateChunk(text="word " * min(CHUNK_TOKENS, wanted - written))
        yield GenerateChunk(finish_reason="stop", usage=Usage(prompt_tokens=tokens, completion_tokens=wanted))

    async def close(self) -> None: ...

    def _factor(self) -> float:
        return float(self._speed.read_text() or 1.0)
