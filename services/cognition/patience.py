"""Asking a service that may be restarting: once more for a moment, before its absence is believed."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TypeVar

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Message, Rpc
from libs.shared.errors import Unavailable

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

PAUSE_S = 0.1


async def ask(bus: Bus, rpc: Rpc[Q, R], message: Q, *, patience_s: float) -> R:
    """The reply; while nobody serves the subject, asked again for ``patience_s``. Only for what may be asked twice."""
    until = monotonic() + patience_s
    while True:
        try:
            return await bus.request(rpc, message)
        except Unavailable:
            if monotonic() + PAUSE_S >= until:
                raise
        await asyncio.sleep(PAUSE_S)
