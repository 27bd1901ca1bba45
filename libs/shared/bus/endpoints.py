"""What every served subject keeps: its handler's statistics, its lane, and how refusals are answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from libs.shared.bus.calls import header_block
from libs.shared.bus.lanes import Lane
from libs.shared.bus.parts import PartsReceiver, PartsSender, granted, parts_subject
from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import GRANT, PART, PARTS, Incoming, block, encode_error, error_block, too_large
from libs.shared.contracts.base import MIB, Rpc, Stream
from libs.shared.errors import Internal, InvalidRequest, Overloaded, ServiceError
from libs.shared.telemetry import get_logger

log = get_logger(__name__)

QUEUE = "q"
"""The queue group of every server: instances of a service share the work, and the permissions name it."""
INBOX = "_INBOX"
"""How the reply subject of every caller begins."""
MOST_UPLOAD_BYTES = 256 * MIB


@dataclass
class EndpointStats:
    """What ``nats micro stats`` shows of one endpoint; times in nanoseconds around the handler."""

    name: str
    subject: str
    num_requests: int = 0
    num_errors: int = 0
    processing_time: int = 0
    last_error: str = ""

    def count(self, started_ns: int, error: str | None) -> None:
        self.num_requests += 1
        self.processing_time += perf_counter_ns() - started_ns
        if error is not None:
            self.num_errors += 1
            self.last_error = error


class Endpoint:
    """One served subject, with the transfers of large bodies in both directions."""

    _uploading_bytes = 0

    def __init__(
        self, transport: Transport, contract: Rpc[Any, Any] | Stream[Any, Any], subject: str, lane: Lane
    ) -> None:
        self.transport = transport
        self.contract = contract
        self.subject = subject
        self.lane = lane
        self.stats = EndpointStats(contract.endpoint_name, subject)
        self._uploads: dict[str, PartsReceiver] = {}
        self._downloads: dict[str, PartsSender] = {}

    async def open(self, on_request: Callable[[Incoming], None]) -> tuple[int, ...]:
        """Subscribes; gives the numbers that a drain unsubscribes first."""

        def guarded(incoming: Incoming) -> None:
            # for another subject the broker would have routed wrongly; and a reply must not become a request of ours
            # to the broker or to another service
            if incoming.subject == self.subject and incoming.reply.startswith(INBOX):
                on_request(incoming)

        await self.transport.subscribe(parts_subject(self.subject, self.transport.instance), self._on_part)
        return (await self.transport.subscribe(self.subject, guarded, queue=QUEUE),)

    def refuse(self, reply: str, error: ServiceError) -> None:
        """Says no, when there is a connection to say it on."""
        if self.transport.connected:
            self.transport.publish(reply, encode_error(error), headers=error_block(error))

    def refuse_overload(self, reply: str) -> None:
        self.stats.count(perf_counter_ns(), Overloaded.code)
        self.refuse(reply, Overloaded("too many requests are waiting here", retry_after_s=1))

    async def body_of(self, incoming: Incoming) -> bytes:
        """The whole request. Raises TooLarge, Overloaded, InvalidRequest, TimedOut, Unavailable."""
        if incoming.raw is None or (announced := incoming.header(PARTS)) is None:
            if len(incoming.body) > self.contract.max_bytes:
                raise too_large(self.contract.max_bytes)
            return incoming.body
        parts = PartsReceiver(announced, self.contract.max_bytes, lambda upto: self._grant(incoming.reply, upto))
        if incoming.reply in self._uploads:
            raise InvalidRequest("this request is on its way already")
        if Endpoint._uploading_bytes + parts.bytes > MOST_UPLOAD_BYTES:
            raise Overloaded("too many large requests are under way", retry_after_s=1)
        Endpoint._uploading_bytes += parts.bytes
        self._uploads[incoming.reply] = parts
        try:
            parts.start()
            return await parts.whole()
        finally:
            Endpoint._uploading_bytes -= parts.bytes
            del self._uploads[incoming.reply]

    async def send_large(self, reply: str, body: bytes) -> None:
        """A reply in parts, as the caller grants them."""
        sender = PartsSender(body)
        self._downloads[reply] = sender
        try:
            announced = header_block(sender.announcement(self.transport.instance))
            self.transport.publish(reply, b"", headers=announced)
            await sender.send(self.transport, lambda: reply, "")
        finally:
            del self._downloads[reply]

    def _grant(self, reply: str, upto: int) -> None:
        self.transport.publish(reply, b"", headers=block({GRANT: f"{upto} {self.transport.instance}"}))

    def _on_part(self, incoming: Incoming) -> None:
        if incoming.header(PART) is not None:
            if (upload := self._uploads.get(incoming.reply)) is not None:
                upload.take(incoming)
        elif (download := self._downloads.get(incoming.reply)) is not None:
            download.grant(granted(incoming) or 0)


def told(error: Exception, endpoint: str) -> ServiceError:
    """What the caller hears of ``error``: a refusal as it is, anything else logged here and told without detail."""
    if isinstance(error, ServiceError):
        return error
    log.error("handler_failed", endpoint=endpoint, exc_info=error)
    return Internal("something went wrong in the service that was asked")
