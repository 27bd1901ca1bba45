"""The caller's side of a stream: order is checked, credit returned, and a vanished server noticed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from libs.shared.bus.calls import GRACE_STEP_S, NO_RESPONDERS, NOBODY
from libs.shared.bus.flow import END, PART, Flow
from libs.shared.bus.parts import Upload
from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import CHUNK, GRANT, Incoming, decode_error, decode_reply, encode, too_large
from libs.shared.contracts.base import KIB, Message, Stream
from libs.shared.errors import Internal, ServiceError, TimedOut, Unavailable

R = TypeVar("R", bound=Message)

PROBE_EVERY_S = 1.0
"""After so much silence the caller asks whether the server is still there."""
PROBES = 5
"""So many unanswered ones in a row, and it is taken for gone."""
FLOW_BYTES = KIB


class StreamCall(Generic[R]):
    """An open stream: an asynchronous iterator of chunks."""

    def __init__(
        self, transport: Transport, contract: Stream[Any, R], subject: str, flow_subject: str, first_timeout_s: float
    ) -> None:
        self.subject = subject
        self.reply = ""
        self.upload: Upload | None = None
        self.send: Callable[[], None] | None = None
        """Sends the request, and again while nobody has it."""
        self._transport = transport
        self._contract = contract
        self._flow_subject = flow_subject
        self._loop = asyncio.get_running_loop()
        self._first_timeout_s = first_timeout_s
        self._ready: deque[bytes] = deque()
        self._pieces: list[bytes] = []
        self._next = 0
        self._taken = 0
        self._error: Exception | None = None
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self._heard = self._sign = self._loop.time()
        self._probes = 0
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ what the application does

    def __aiter__(self) -> StreamCall[R]:
        return self

    async def __anext__(self) -> R:
        while not self._ready:
            if self._over:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            await self._wait()
        body = self._ready.popleft()
        self._return_credit(1)
        return decode_reply(self._contract.chunk, body)

    def begin(self) -> None:
        """Starts to watch the time."""
        self._heard = self._sign = self._loop.time()
        if not self._over:
            self._timer = self._loop.call_later(min(PROBE_EVERY_S, max(0.001, self._first_timeout_s)), self._watch)

    def leave(self) -> None:
        """Ends the call; a server that is still at work is told to stop."""
        if self._timer is not None:
            self._timer.cancel()
        if self.upload is not None:
            self.upload.stop()
        if not self._over and self._transport.connected:
            self._tell(Flow(stream=self.reply, cancel=True))
        self._over = True

    # ------------------------------------------------------------------ what comes from the server

    def feed(self, incoming: Incoming) -> None:
        if self._over:
            return
        if incoming.status == NO_RESPONDERS:
            self._nobody()
            return
        self._sign = self._loop.time()
        self._probes = 0
        if (place := incoming.header(CHUNK)) is not None:
            self._take(place, incoming)
        elif (error := decode_error(incoming)) is not None:
            self.fail(error)
        elif self.upload is not None and incoming.header(GRANT) is not None:
            self.upload.granted(incoming)

    def fail(self, error: Exception) -> None:
        """Ends the stream after the chunks that came before."""
        if not self._over:
            self._over = True
            self._error = error
            self._wake()

    def _take(self, place: str, incoming: Incoming) -> None:
        number, _, kind = place.partition(" ")
        if number != str(self._next):
            self._give_up(Unavailable("a chunk of the answer was lost"))
            return
        self._next += 1
        self._heard = self._sign
        if (error := decode_error(incoming)) is not None:
            self.fail(error)
            return
        self._keep(kind, incoming.body)

    def _keep(self, kind: str, body: bytes) -> None:
        if kind == PART:
            self._pieces.append(body)
            if sum(map(len, self._pieces)) > self._contract.max_bytes:
                self._give_up(too_large(self._contract.max_bytes))
            else:
                self._return_credit(1)
            return
        if self._pieces:
            body = b"".join((*self._pieces, body))
            self._pieces.clear()
        if body:
            self._ready.append(body)
        if len(body) > self._contract.max_bytes or len(self._ready) > self._contract.window:
            self._give_up(Internal("the server sent more than was asked for"))
        self._over = self._over or kind == END
        self._wake()

    def _nobody(self) -> None:
        """Right after a reconnection the server may be on its way back too, so it is asked again for a while."""
        if self._next == 0 and self._transport.settling and self.send is not None:
            self._loop.call_later(GRACE_STEP_S, self._send_again)
        else:
            self.fail(Unavailable(NOBODY))

    def _send_again(self) -> None:
        if not self._over and self._transport.connected and self.send is not None:
            self.send()

    def _give_up(self, error: ServiceError) -> None:
        self._tell(Flow(stream=self.reply, cancel=True))
        self.fail(error)

    # ------------------------------------------------------------------ time and credit

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _return_credit(self, count: int) -> None:
        self._taken += count
        if self._taken >= max(1, self._contract.window // 2) and not self._over:
            self._tell(Flow(stream=self.reply, credit=self._taken))
            self._taken = 0

    def _tell(self, flow: Flow, reply: str = "") -> None:
        if self._transport.connected:
            self._transport.publish(self._flow_subject, encode(flow, FLOW_BYTES), reply=reply)

    def _watch(self) -> None:
        """Sleeps until the next probe or the end of patience, whichever is first."""
        if self._over:
            return
        now = self._loop.time()
        if self._ready:
            # the application is the slow one: silence is owed to missing credit
            self._heard = now
        limit = self._contract.idle_timeout_s if self._next else self._first_timeout_s
        if now - self._heard >= limit:
            self._give_up(TimedOut("the answer stopped coming" if self._next else "the answer did not begin in time"))
            return
        if now - self._sign >= PROBE_EVERY_S * (self._probes + 1):
            self._probe()
        self._timer = self._loop.call_later(min(PROBE_EVERY_S, max(0.001, self._heard + limit - now)), self._watch)

    def _probe(self) -> None:
        if self._probes >= PROBES:
            self._give_up(Unavailable("the server of this answer is gone"))
            return
        self._probes += 1
        self._tell(Flow(stream=self.reply), reply=self.reply)
