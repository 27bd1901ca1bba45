"""nats-py without the HTTP client that its WebSocket transport would load into every service (8 MB, 0.2 s)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _unavailable(module: str) -> Iterator[None]:
    """Has imports of ``module`` fail inside the block, unless it is loaded already; nats-py does without it then."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


with _unavailable("aiohttp"):
    import nats.errors as errors
    from nats.aio.client import DEFAULT_BUFFER_SIZE, Client, Srv
    from nats.aio.subscription import Subscription
    from nats.aio.transport import TcpTransport
    from nats.protocol.command import sub_cmd, unsub_cmd

__all__ = ["DEFAULT_BUFFER_SIZE", "Client", "Srv", "Subscription", "TcpTransport", "errors", "sub_cmd", "unsub_cmd"]
