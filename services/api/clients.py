"""Noticing at once that an HTTP client went away, and stopping the work that was for it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive


class ClientGone(Exception):
    """The client closed the connection before its answer was complete: there is nobody to tell."""


class WhileConnected:
    """``async with WhileConnected(receive): …`` raises ClientGone inside the block when the client leaves.

    The request's body must have been read: from then on ``receive`` only waits for the disconnect.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._watch = asyncio.ensure_future(self._disconnected())
        self._watch.add_done_callback(self._left)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.remove_done_callback(self._left)
        self._watch.cancel()
        if self._gone and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGone from None

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _left(self, watch: asyncio.Task[None]) -> None:
        if not watch.cancelled():
            self._gone = True
            self._task.cancel()
