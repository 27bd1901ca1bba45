"""Opening a turn at cognition: while nobody is there to take it, it is offered again for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import CHAT, ChatChunk, ChatRequest
from libs.shared.contracts.watching import TURN_UNANSWERED, TurnMeasured
from libs.shared.errors import BackendFailed, ServiceError, Unavailable
from libs.shared.telemetry import get_logger

PAUSE_S = 0.1

log = get_logger(__name__)


@asynccontextmanager
async def opened(
    bus: Bus, turn: ChatRequest, *, patience_s: float
) -> AsyncIterator[tuple[ChatChunk, AsyncIterator[ChatChunk]]]:
    """The first chunk and the rest; leaving the block cancels the turn. Raises as the stream does.

    A turn that nobody took is offered again for ``patience_s``: cognition may be restarting. That is safe, since a turn
    is kept once by its id.
    """
    began, until = datetime.now(UTC), monotonic() + patience_s
    async with AsyncExitStack() as stack:
        while True:
            chunks = await stack.enter_async_context(bus.stream(CHAT, turn))
            try:
                first = await anext(chunks, None)
                break
            except Unavailable:
                await stack.aclose()
                if monotonic() + PAUSE_S >= until:
                    await _tell_unanswered(bus, began)
                    raise
                await asyncio.sleep(PAUSE_S)
        if first is None:
            raise ended_early(turn)
        yield first, chunks


async def _tell_unanswered(bus: Bus, began: datetime) -> None:
    """For whoever watches what a change does: of a turn that nobody took, nobody else can tell. Lossy."""
    try:
        await bus.broadcast(TURN_UNANSWERED, TurnMeasured(began=began, failed=True))
    except ServiceError as error:
        log.debug("unanswered_turn_untold", code=error.code)


def ended_early(turn: ChatRequest) -> BackendFailed:
    """The refusal of an answer that stopped before its end."""
    return BackendFailed("The answer ended before it was complete.", reason="broke_off", turn_id=turn.turn_id)
