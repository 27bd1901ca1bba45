"""Asking a service that may be restarting: once more for a moment, before its absence is believed."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TypeVar

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Message, Rpc
from libs.shared.errors import TimedOut, Unavailable

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

PAUSE_S = 0.1


async def ask(bus: Bus, rpc: Rpc[Q, R], message: Q, *, patience_s: float) -> R:
    """The reply; while nobody serves the subject, asked again for ``patience_s``. Only for what may be asked twice.

    A question that was under way when its server died is never answered, so the first gets no more than ``patience_s``
    (and none at all means a single one with the contract's own time).
    """
    until = monotonic() + patience_s
    first_s = min(rpc.timeout_s, patience_s) if patience_s else None
    while True:
        try:
            return await bus.request(rpc, message, timeout_s=first_s)
        except Unavailable:
            if monotonic() + PAUSE_S >= until:
                raise
        except TimedOut:
            if first_s is None or monotonic() + PAUSE_S < until:
                raise
            first_s = None
        await asyncio.sleep(PAUSE_S)
