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
FIRST_TRY_S = 3.0
"""A question that was under way when its server died is never answered; asked again, it has the contract's own time."""


async def ask(bus: Bus, rpc: Rpc[Q, R], message: Q, *, patience_s: float) -> R:
    """The reply; while nobody serves the subject, asked again for ``patience_s``, and once after a silence.

    Only for what may be asked twice. Without patience it is asked once.
    """
    until = monotonic() + patience_s
    timeout_s = min(rpc.timeout_s, FIRST_TRY_S) if patience_s else rpc.timeout_s
    while True:
        try:
            return await bus.request(rpc, message, timeout_s=timeout_s)
        except Unavailable:
            if monotonic() + PAUSE_S >= until:
                raise
        except TimedOut:
            if timeout_s == rpc.timeout_s:
                raise
            timeout_s = rpc.timeout_s
        await asyncio.sleep(PAUSE_S)
