"""One connection to a NATS server: nats-py's protocol and reconnection, with messages handed on without a queue.

nats-py puts every message into a queue a subscription, from which one task awaits callbacks one by one; and every
publication wakes a flusher task. Both are left out here: a message goes from the socket to a plain function, and a
publication to what its turn of the event loop sends (``tcp.py``). docs/decisions/bus.md has what that saves.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from libs.shared.bus.slim_nats import DEFAULT_BUFFER_SIZE, Client, Srv, Subscription, errors, sub_cmd, unsub_cmd
from libs.shared.bus.tcp import DirectTcp
from libs.shared.bus.transport import OnMessage
from libs.shared.bus.wire import Incoming
from libs.shared.errors import Forbidden, ServiceError, Unavailable
from libs.shared.telemetry import get_logger

log = get_logger(__name__)

AWAY = "the broker is away"
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')
_RELIEVE_BYTES = 1024 * 1024
_SETTLING_S = 3.0
_RECONNECT_EVERY_S = 0.1
_CONNECT_TIMEOUT_S = 2
_PING_EVERY_S = 10
_FLUSH_TIMEOUT_S = 5
_CLOSE_S = 1.0
_MOST_RECORDED_DENIALS = 1024
_TOLD_TOKENS = 4
"""Of a denied subject; what follows can be an id."""


class _DirectClient(Client):
    """nats-py's client with a short way in and out for what this module subscribes."""

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[int, OnMessage] = {}

    def take(self, sid: bytes, subject: bytes, reply: bytes, body: bytes, headers: bytes | None) -> None:
        """One message, as it arrived."""
        on_message = self.direct.get(int(sid))
        if on_message is None:
            return
        try:
            on_message(Incoming(subject.decode(), reply.decode(), body, headers))
        except Exception as error:
            # nats-py would stop reading, for every subscription, until its pings run out half a minute later
            log.error("message_not_taken", reason=type(error).__name__, exc_info=error)

    def subscribe_direct(self, subject: str, queue: str, on_message: OnMessage) -> int:
        """As ``subscribe``, without a queue and a task of its own; replayed on reconnection like any other."""
        self._sid += 1
        subscription = Subscription(self, self._sid, subject, queue=queue)
        self._subs[self._sid] = subscription
        self.direct[self._sid] = on_message
        # written here, since nats-py leaves it to its flusher, which a PING to wait for it would overtake
        self.write(sub_cmd(subject, queue, self._sid))
        return self._sid

    def unsubscribe_direct(self, sid: int) -> None:
        if self._subs.pop(sid, None) is not None and self.is_connected:
            self.write(unsub_cmd(sid, 0))

    async def _connect_to_server(self, s: Srv) -> None:
        # a new one each time, so that nothing meant for the connection before can go out on this
        s.last_attempt = time.monotonic()
        self._transport = DirectTcp(self.take)
        await self._transport.connect(s.uri, DEFAULT_BUFFER_SIZE, self.options["connect_timeout"])

    async def _attempt_reconnect(self) -> None:
        # over TLS, closing waits half a minute for a peer that may be gone to confirm it; there is nothing to confirm
        writer = getattr(self._transport, "_io_writer", None)
        if self.options["tls_handshake_first"] and writer is not None:
            writer.transport.abort()
        await super()._attempt_reconnect()

    def write(self, frame: bytes) -> None:
        """Straight to the connection, without a queue and a task to empty it."""
        assert self._transport is not None
        self._transport.write(frame)

    async def drain_writes(self) -> None:
        if self._transport is not None:
            await self._transport.drain()  # type: ignore[no-untyped-call]


class NatsTransport:
    """The transport over one NATS connection; subscriptions survive reconnection."""

    def __init__(self, inbox_prefix: str) -> None:
        self._instance = re.sub(r"[^A-Za-z0-9]", "x", token_urlsafe(12))
        self._inbox = f"{inbox_prefix}.{self._instance}"
        self._client = _DirectClient()
        self._unsent = 0
        self._connected_at = 0.0
        self._back_at = -_SETTLING_S
        self._denials: list[str] = []
        self._on_denied: list[Callable[[str], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._on_back: list[Callable[[], None]] = []
        self._back = asyncio.Event()
        self._closing = False
        self.closed = asyncio.Event()
        """Set when the connection is gone for good, such as after its key was taken away."""

    async def open(
        self, url: str, *, seed_file: Path | None, ca_file: Path | None, name: str, tls_name: str | None = None
    ) -> None:
        """Connects to one of the addresses in ``url`` (separated by commas); ``tls_name`` is what its certificate is
        for, and has TLS come first.

        Raises Unavailable, or Forbidden when the broker refuses the key.
        """
        options: dict[str, Any] = {
            "name": name,
            "nkeys_seed": None if seed_file is None else str(seed_file),
            "tls": _tls(ca_file, tls_name),
            "error_cb": self._heard_error,
            "disconnected_cb": self._disconnected,
            "reconnected_cb": self._reconnected,
            "closed_cb": self._closed,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _RECONNECT_EVERY_S,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "ping_interval": _PING_EVERY_S,
            "pending_size": 0,
            "dont_randomize": True,  # the address that answered last is the first
            **({"tls_hostname": tls_name, "tls_handshake_first": True} if tls_name else {}),
        }
        addresses = url.split(",")
        for number in range(len(addresses)):
            try:
                await self._connect([*addresses[number:], *addresses[:number]], options)
                break
            except Unavailable:
                if number == len(addresses) - 1:
                    raise
        await self._reconnected()

    async def _connect(self, addresses: list[str], options: Mapping[str, Any]) -> None:
        """To the first; the others are for when that connection is lost. Raises as ``open``."""
        self._closing = False
        self.closed.clear()
        self._client = _DirectClient()
        try:
            await self._client.connect(addresses, **options)
        except (OSError, errors.Error, TimeoutError, ServiceError) as error:
            self._closing = True
            await self._end()
            raise _connect_failure(error) from None

    @property
    def inbox(self) -> str:
        return self._inbox

    @property
    def instance(self) -> str:
        return self._instance

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    @property
    def settling(self) -> bool:
        return asyncio.get_running_loop().time() - self._back_at < _SETTLING_S

    async def wait_connected(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not self.connected:
                    if self._closing or self.closed.is_set():
                        raise Unavailable(AWAY)
                    self._back.clear()
                    await self._back.wait()
        except TimeoutError:
            raise Unavailable(AWAY) from None

    def publish(self, subject: str, body: bytes, *, reply: str = "", headers: bytes | None = None) -> None:
        client = self._client
        if not client.is_connected:
            raise Unavailable(AWAY)
        if headers is None:
            frame = b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(body), body)
        else:
            size = len(headers)
            frame = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
                subject.encode(), reply.encode(), size, size + len(body), headers, body,
            )  # fmt: skip
        self._unsent += len(frame)
        client.write(frame)

    async def relieve(self) -> None:
        if self._unsent > _RELIEVE_BYTES:
            self._unsent = 0
            try:
                await self._client.drain_writes()
            except OSError:
                raise Unavailable(AWAY) from None

    async def subscribe(self, subject: str, on_message: OnMessage, *, queue: str = "") -> int:
        if not self.connected:
            await self.wait_connected(_FLUSH_TIMEOUT_S)
        self._denials = [d for d in self._denials if d != subject.lower()]
        number = self._client.subscribe_direct(subject, queue, on_message)
        await self.flush(_FLUSH_TIMEOUT_S)
        if subject.lower() in self._denials:
            self._client.direct.pop(number, None)
            self._client._subs.pop(number, None)
            raise Forbidden("the broker denies this subject to this service", subject=subject)
        return number

    async def unsubscribe(self, *numbers: int) -> None:
        for number in numbers:
            self._client.unsubscribe_direct(number)
        await self.flush(_FLUSH_TIMEOUT_S)
        for number in numbers:
            self._client.direct.pop(number, None)

    def on_denied(self, react: Callable[[str], None]) -> None:
        self._on_denied.append(react)

    def on_lost(self, react: Callable[[], None]) -> None:
        self._on_lost.append(react)

    def on_back(self, react: Callable[[], None]) -> None:
        """``react`` is called after every reconnection."""
        self._on_back.append(react)

    async def flush(self, timeout_s: float) -> None:
        try:
            await self._client.flush(max(1, int(timeout_s)))
        except (errors.Error, OSError):
            raise Unavailable(AWAY) from None

    async def close(self) -> None:
        self._closing = True
        self._back.set()
        if self.connected:
            try:
                await self.flush(1)
            except Unavailable:
                log.debug("closed_without_flush")
        await self._end()

    async def _end(self) -> None:
        # of TLS, asyncio says late (a peer that is gone) or never (a certificate that was refused) that it is closed
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._client.close()
        self.closed.set()

    # ------------------------------------------------------------------ what nats-py tells

    async def _heard_error(self, error: Exception) -> None:
        if self._connected_at == 0:
            # nats-py would try for ever; raising here ends its first attempt
            raise _connect_failure(error)
        denied = _DENIED.search(str(error))
        if _refuses_key(error):
            # the key was taken away while the broker was gone: trying on would not mend it
            log.error("broker_refuses_key")
            self.closed.set()
            self._back.set()
        if denied is None:
            log.debug("broker_connection_error", reason=type(error).__name__)
            return
        log.error("broker_denied", verb=denied[1], subject=".".join(denied[2].split(".")[:_TOLD_TOKENS]))
        if denied[1] == "subscription":
            del self._denials[_MOST_RECORDED_DENIALS:]
            self._denials.append(denied[2])
            return
        for react in self._on_denied:
            react(denied[2])

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("broker_lost")
        for react in self._on_lost:
            react()

    async def _reconnected(self) -> None:
        again = self._connected_at > 0
        self._connected_at = asyncio.get_running_loop().time()
        self._back.set()
        if again:
            self._back_at = self._connected_at
            log.info("broker_back")
            for react in self._on_back:
                react()

    async def _closed(self) -> None:
        self._back.set()
        self.closed.set()


def _refuses_key(error: Exception) -> bool:
    # nats-py has a class for this, and raises its base class with the server's words while it connects
    return isinstance(error, errors.AuthorizationError) or "authorization violation" in str(error).lower()


def _connect_failure(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if _refuses_key(error):
        return Forbidden("the broker refuses this service's key")
    return Unavailable(f"the broker cannot be reached ({type(error).__name__})")


def node_protocol(product_version: str) -> str:
    """What a joined machine names while TLS begins: an entrance lets its own version in, and no other."""
    return f"mongars-node/{product_version}"


def _tls(ca_file: Path | None, tls_name: str | None) -> Any:
    """Trusts the given authority alone, since nkeys prove the client to the broker and not the other way round."""
    if ca_file is None:
        return None
    import ssl

    context = ssl.create_default_context(cafile=str(ca_file))
    if tls_name is not None:
        context.set_alpn_protocols([node_protocol(version("mongars"))])
    return context
