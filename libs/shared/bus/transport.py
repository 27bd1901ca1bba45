"""What the typed conversations need of a broker: publish, subscribe and an inbox of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from libs.shared.bus.wire import Incoming

OnMessage = Callable[[Incoming], None]
"""Called on the event loop, in order of arrival; must not block, so work goes to a task."""


class Transport(Protocol):
    """A connection that subscribes again by itself after the broker was away."""

    @property
    def inbox(self) -> str:
        """Prefix of the reply subjects that reach this connection alone."""
        ...

    @property
    def instance(self) -> str:
        """One subject token that names this connection."""
        ...

    @property
    def connected(self) -> bool: ...

    @property
    def settling(self) -> bool:
        """Connected again a moment ago: servers may still be on their way back."""
        ...

    async def wait_connected(self, timeout_s: float) -> None:
        """Raises Unavailable."""
        ...

    def publish(self, subject: str, body: bytes, *, reply: str = "", headers: bytes | None = None) -> None:
        """Hands a message to the connection. Raises Unavailable when there is none."""
        ...

    async def relieve(self) -> None:
        """Waits while much is written and not yet sent."""
        ...

    async def subscribe(self, subject: str, on_message: OnMessage, *, queue: str = "") -> int:
        """Returns once the broker knows; gives a number for ``unsubscribe``. Raises Forbidden, Unavailable."""
        ...

    async def unsubscribe(self, *numbers: int) -> None:
        """Returns once no further message can come."""
        ...

    def on_denied(self, react: Callable[[str], None]) -> None:
        """``react(subject)`` is called, with the subject in lower case, when the broker denies a publication."""
        ...

    def on_lost(self, react: Callable[[], None]) -> None:
        """``react`` is called when the connection breaks."""
        ...

    async def flush(self, timeout_s: float) -> None:
        """Returns once the broker has everything published so far. Raises Unavailable."""
        ...

    async def close(self) -> None: ...
