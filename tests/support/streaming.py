"""Two ends of a stream, for tests of the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from tests.contract.conftest import AnyBus, Connect

PATIENCE_S = 8
NARROW = replace(GENERATE, window=4)


async def pair(connect: Connect) -> tuple[AnyBus, AnyBus]:
    return await connect(Principal.INFERENCE), await connect(Principal.COGNITION)


async def settle(*buses: AnyBus) -> None:
    """Returns once what the first has sent was heard by the last."""
    for bus in buses:
        await asyncio.sleep(0)
        await bus.transport.flush(PATIENCE_S)


class Endless:
    """A generation that goes on until it is stopped, and tells how far it came."""

    def __init__(self) -> None:
        self.made = 0
        self.begun = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __call__(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        try:
            while True:
                self.made += 1
                yield GenerateChunk(text=str(self.made))
                self.begun.set()
                await asyncio.sleep(0)
        finally:
            self.stopped.set()
