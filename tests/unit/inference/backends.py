"""Backends that do as a test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from services.inference.backends.base import Changed

MODEL = ServedModel(name="scripted", backend="scripted", context_tokens=1000)


class ScriptedBackend:
    """Gives its first word at once and the rest when ``go`` is set; knows who is at work and who was closed."""

    name = "scripted"

    def __init__(self, *, slots: int = 1) -> None:
        self.slots = slots
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        self.working = 0
        self.most_working = 0
        self.begun: list[str] = []
        self.stopped_early: list[str] = []
        self.changed: Changed = lambda: None
        self.served: tuple[ServedModel, ...] = (MODEL,)

    async def load(self, changed: Changed) -> None:
        self.changed = changed

    def models(self) -> tuple[ServedModel, ...]:
        return self.served

    def troubles(self) -> tuple[str, ...]:
        return ()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        self.working += 1
        self.most_working = max(self.most_working, self.working)
        self.begun.append(request.request_id)
        ended = False
        try:
            yield GenerateChunk(text="first")
            await self.go.wait()
            yield GenerateChunk(text="second")
            ended = True
            yield GenerateChunk(finish_reason="stop", usage=Usage(prompt_tokens=100, completion_tokens=2))
        finally:
            self.working -= 1
            if not ended:
                self.stopped_early.append(request.request_id)
                self.left.set()

    async def close(self) -> None:
        self.go.set()


def request(request_id: str = "r1", *, model: str = MODEL.name, text: str = "hello") -> GenerateRequest:
    """A question of one message."""
    return GenerateRequest(request_id=request_id, model=model, messages=(ChatMessage(role="user", content=text),))
