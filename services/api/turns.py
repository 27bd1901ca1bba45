"""Opening a turn at cognition: while nobody is there to take it, it is offered again for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import CHAT, ChatChunk, ChatRequest
from libs.shared.errors import BackendFailed, Unavailable

PAUSE_S = 0.1


@asynccontextmanager
async def opened(
    bus: Bus, turn: ChatRequest, *, patience_s: float
) -> AsyncIterator[tuple[ChatChunk, AsyncIterator[ChatChunk]]]:
    """The first chunk and the rest; leaving the block cancels the turn. Raises as the stream does.

    A turn that nobody took is offered again for ``patience_s``: cognition may be restarting. That is safe, since a turn
    is kept once by its id.
    """
    until = monotonic() + patience_s
    async with AsyncExitStack() as stack:
        while True:
            chunks = await stack.enter_async_context(bus.stream(CHAT, turn))
            try:
                first = await anext(chunks, None)
                break
            except Unavailable:
                await stack.aclose()
                if monotonic() + PAUSE_S >= until:
                    raise
                await asyncio.sleep(PAUSE_S)
        if first is None:
            raise ended_early(turn)
        yield first, chunks


def ended_early(turn: ChatRequest) -> BackendFailed:
    """The refusal of an answer that stopped before its end."""
    return BackendFailed("The answer ended before it was complete.", reason="broke_off", turn_id=turn.turn_id)
