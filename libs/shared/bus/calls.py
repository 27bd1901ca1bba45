"""The caller's side of one request and its one reply."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from libs.shared.bus.inbox import Inbox
from libs.shared.bus.parts import PartsReceiver, Upload, parts_subject
from libs.shared.bus.tracing import trace_lines
from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import GRANT, PART, PART_BYTES, PARTS, Incoming, block, decode_error
from libs.shared.errors import ServiceError, TimedOut, Unavailable

NOBODY = "nobody serves this subject now"
NO_RESPONDERS = 503
GRACE_STEP_S = 0.05


def header_block(headers: Mapping[str, str]) -> bytes | None:
    """``headers`` with the current trace; None when there is neither."""
    lines = trace_lines()
    return block(headers, lines) if headers or lines else None


class Nobody(Exception):
    """The broker says that nobody listens: nothing was carried out, so asking again is safe."""


class PendingReply:
    """One reply that is waited for; large ones are put together here."""

    def __init__(self, transport: Transport, subject: str, limit: int) -> None:
        self.subject = subject
        self.reply = ""
        self.upload: Upload | None = None
        self._transport = transport
        self._limit = limit
        self._parts: PartsReceiver | None = None
        self.future: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()

    def feed(self, incoming: Incoming) -> None:
        if self.future.done():
            return
        if incoming.raw is None:
            self.future.set_result(incoming)
        elif incoming.status == NO_RESPONDERS:
            self.fail(Nobody(NOBODY))
        elif (error := decode_error(incoming)) is not None:
            self.fail(error)
        else:
            self._feed_part(incoming)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        self.fail(TimedOut("no answer in time"))

    def _feed_part(self, incoming: Incoming) -> None:
        if incoming.header(GRANT) is not None:
            if self.upload is not None:
                self.upload.granted(incoming)
        elif (announced := incoming.header(PARTS)) is not None:
            self._begin(announced)
        elif incoming.header(PART) is not None and self._parts is not None:
            self._parts.take(incoming)
            self._finish(self._parts)
        else:
            self.future.set_result(incoming)

    def _begin(self, announced: str) -> None:
        try:
            parts = PartsReceiver(announced, self._limit, self._grant)
        except ServiceError as error:
            self.fail(error)
            return
        self._parts = parts
        parts.start()

    def _grant(self, upto: int) -> None:
        assert self._parts is not None
        to = parts_subject(self.subject, self._parts.instance)
        self._transport.publish(to, b"", reply=self.reply, headers=block({GRANT: f"{upto} {self._transport.instance}"}))

    def _finish(self, parts: PartsReceiver) -> None:
        if parts.done:
            try:
                self.future.set_result(Incoming(self.subject, "", parts.result(), None))
            except ServiceError as error:
                self.fail(error)


class Calls:
    """Sends requests and waits for their replies, each within its time."""

    def __init__(self, transport: Transport, inbox: Inbox) -> None:
        self._transport = transport
        self._inbox = inbox

    async def exchange(
        self,
        subject: str,
        body: bytes,
        *,
        timeout_s: float,
        limit: int,
        headers: Mapping[str, str] | None = None,
        whole: bool = False,
    ) -> Incoming:
        """One reply. Raises the server's error, Unavailable, TimedOut, Forbidden.

        Right after a reconnection the servers may be on their way back too, so "nobody" is asked again for a while;
        ``whole`` never splits the body.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if not self._transport.connected:
            await self._transport.wait_connected(timeout_s)
        while True:
            try:
                return await self._once(subject, body, deadline, limit, headers or {}, whole)
            except Nobody:
                if not self._transport.settling or loop.time() + GRACE_STEP_S >= deadline:
                    raise Unavailable(NOBODY) from None
                await asyncio.sleep(GRACE_STEP_S)

    async def _once(
        self, subject: str, body: bytes, deadline: float, limit: int, headers: Mapping[str, str], whole: bool
    ) -> Incoming:
        pending = PendingReply(self._transport, subject, limit)
        pending.reply = reply = self._inbox.enter(pending)
        timer = asyncio.get_running_loop().call_at(deadline, pending.expire)
        try:
            if len(body) > PART_BYTES and not whole:
                self._announce(pending, body, headers)
            else:
                self._transport.publish(subject, body, reply=reply, headers=header_block(headers))
                if len(body) > PART_BYTES:
                    await self._transport.relieve()
            return await pending.future
        finally:
            timer.cancel()
            self._inbox.leave(reply)
            if pending.upload is not None:
                pending.upload.stop()

    def _announce(self, pending: PendingReply, body: bytes, headers: Mapping[str, str]) -> None:
        pending.upload = upload = Upload(self._transport, pending.subject, pending.reply, body)
        sent = header_block({**headers, **upload.announcement()})
        self._transport.publish(pending.subject, b"", reply=pending.reply, headers=sent)
        upload.start(pending.fail)
