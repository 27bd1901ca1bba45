"""uvicorn's HTTP protocol with bounds that uvicorn leaves open: a request's head, a refused body, idle connections."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 20.0
LINGER_S = 10.0
"""How long the rest of a body may take that nobody reads any more."""
_IDLE_SHARE = 0.9
"""Of the connections that may be open: above it the longest idle one makes room for a new one."""


class BoundedHttp(HttpToolsProtocol):
    """Closes connections whose request's head is too large or too long in coming, and idle ones when many are open."""

    _head_bytes = 0
    _head_open = True
    _body_open = False
    _idle_since: float | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._start_deadline(HEAD_TIMEOUT_S)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_open:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_open:
            self._check_head()

    def on_message_begin(self) -> None:
        self._head_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._body_open = True
        self._idle_since = None
        self._head_bytes = 0
        self._end_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._body_open = False
        if self.cycle.response_complete:
            self._end_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.cycle.response_complete:
            return  # of an earlier request: another came behind it
        self._idle_since = self.loop.time()
        if self._body_open and self._deadline is None:
            # uvicorn's own patience ends at the next byte, and a body without end would hold the connection
            self._start_deadline(LINGER_S)

    def _check_head(self) -> None:
        if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")
        elif self._deadline is None:
            self._start_deadline(HEAD_TIMEOUT_S)

    def _make_room(self) -> None:
        most = self.limit_concurrency
        if most is None or len(self.connections) <= most * _IDLE_SHARE:
            return
        idle = [c for c in self.connections if isinstance(c, BoundedHttp) and c is not self and c.is_idle]
        if idle:
            min(idle, key=lambda c: c._idle_since or 0.0).transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is under way, so that closing it takes nothing from anybody."""
        return self._idle_since is not None and not self.transport.is_closing()

    def _start_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
