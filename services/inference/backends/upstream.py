"""What the backends that ask another server share: one HTTP session, bounded reads, errors by name, a patient probe."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from libs.shared.addresses import is_remote
from libs.shared.errors import BackendFailed, ModelNotFound, Overloaded, RemoteNotAllowed, ServiceError
from libs.shared.telemetry import get_logger
from services.inference.backends.retry_after import seconds_to_wait
from services.inference.consent import Consent

if TYPE_CHECKING:
    import aiohttp

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 120.0
"""Longest silence of an upstream: a small board reads a long prompt for a minute or two."""
PROBE_TIMEOUT_S = 5.0
PROBE_OK_S = 30.0
PROBE_FIRST_S = 1.0
PROBE_MAX_S = 60.0
UNTOLD_WAIT_S = 5.0
"""After a 429 that doesn't say when to come back."""
LEAST_WAIT_S = 0.1
OF_THE_REQUEST = frozenset({400, 413, 415, 422})
"""Statuses that say that the request itself is wrong; the same one would be refused anywhere."""
ERROR_BYTES = 64 * 1024
LINE_BYTES = 8 * 1024 * 1024

log = get_logger(__name__)


class UpstreamRefused(Exception):
    """An HTTP error of the upstream, with the beginning of its body."""

    def __init__(self, status: int, body: bytes, retry_after_s: float | None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s


class RemoteAddress(OSError):
    """A connection that was about to leave this network without leave."""


Resolve = Callable[[str, int], Awaitable[list[str]]]
"""A host and a port → its addresses; raises OSError when there are none."""


async def resolve(host: str, port: int) -> list[str]:
    """As this machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Upstream:
    """One server. The session is made when the first connection was possible: no upstream, no HTTP client in memory.

    Each connection is held against the address that it goes to: none leaves the network unless the server was found to
    be remote when its models were listed, so that they are marked, and an admin allows it.
    """

    def __init__(self, url: str, headers: dict[str, str], consent: Consent, *, resolve: Resolve = resolve) -> None:
        self.url = url.rstrip("/")
        self.remote: bool | None = None
        """Whether the server lies beyond this network; None: it has not been looked up yet."""
        self._headers = headers
        self._consent = consent
        self._resolve = resolve
        self._session: aiohttp.ClientSession | None = None
        self._waiting: set[asyncio.Timeout] = set()
        self._under_way: set[aiohttp.ClientResponse] = set()

    async def admit(self) -> None:
        """Looks the server up and knocks at its port; needs no HTTP client.

        Raises RemoteNotAllowed, before any connection, and BackendFailed (``no_such_host``, ``unreachable``).
        """
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = await self._looked_up(parts.hostname or "", port)
        remote = any(map(is_remote, addresses))
        if remote != self.remote:
            self.remote = remote
            await self.close()
        self._check_allowed()
        await _knock(addresses, port)

    async def _looked_up(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise BackendFailed("there is no host of this name", reason="no_such_host") from error
        except TimeoutError as error:
            raise BackendFailed("the name of the host can't be looked up in time", reason="timeout") from error
        if not found:
            raise BackendFailed("there is no host of this name", reason="no_such_host")
        return found

    def _check_allowed(self) -> None:
        if self.remote is not False and not self._consent.allowed:
            raise RemoteNotAllowed("the server lies beyond this network, and no admin has allowed that")

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """For one connection, whose address is known by now, whatever the name meant when it was looked up."""
        family, kind, protocol, _, where = address
        if is_remote(str(where[0])) and not (self.remote and self._consent.allowed):
            raise RemoteAddress(f"{where[0]} lies beyond this network")
        return socket.socket(family, kind, protocol)

    async def get(self, path: str) -> Any:
        """JSON of a short question. Raises BackendFailed or UpstreamRefused."""
        return await self._short("GET", path, None)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """As ``get``, with a body."""
        return await self._short("POST", path, body)

    @asynccontextmanager
    async def lines(self, path: str, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's lines as they come; leaving early closes the connection, which stops the upstream's work."""
        with _named_failures():
            async with self._asked("POST", path, body) as response:
                yield _lines(response)

    async def close(self) -> None:
        """Ends every connection, with what is under way on it; the next request makes new ones."""
        session, self._session = self._session, None
        for waiting in [w for w in self._waiting if not w.expired()]:
            waiting.reschedule(0.0)
        for response in tuple(self._under_way):
            response.close()
        if session is not None:
            await session.close()

    async def _short(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with _named_failures():
            async with asyncio.timeout(PROBE_TIMEOUT_S), self._asked(method, path, body) as response:
                return await response.json(content_type=None)

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's head, which is no refusal; ``close`` ends the waiting for it, and the reading."""
        async with asyncio.timeout(None) as waiting:
            self._waiting.add(waiting)
            try:
                response = await self._open().request(method, self.url + path, json=body, allow_redirects=False)
            finally:
                self._waiting.discard(waiting)
        self._under_way.add(response)
        try:
            async with response:
                await _check(response)
                yield response
        finally:
            self._under_way.discard(response)

    def _open(self) -> aiohttp.ClientSession:
        # Imported late: without an upstream no HTTP client is needed.
        import aiohttp

        self._check_allowed()
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                headers=self._headers,
                read_bufsize=256 * 1024,
                connector=aiohttp.TCPConnector(limit=256, socket_factory=self._socket),
                trust_env=False,
            )
        return self._session


async def _knock(addresses: list[str], port: int) -> None:
    """Raises BackendFailed when nothing takes connections at any of them."""
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return
    raise BackendFailed("the upstream can't be reached", reason="unreachable")


class Probe:
    """Asks ``look`` again and again: each half minute when all is well, sooner and ever later while it isn't."""

    def __init__(self, name: str, look: Callable[[], Awaitable[bool]]) -> None:
        self._name = name
        self._look = look
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self.well = False

    async def start(self) -> None:
        """Looks once before it returns."""
        self.well = await self._look()
        self._task = asyncio.create_task(self._run(), name=f"probe-{self._name}")

    def soon(self) -> None:
        """Something failed: look now rather than at the next turn."""
        self._again.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause_s = PROBE_FIRST_S
        while True:
            pause_s = PROBE_OK_S if self.well else min(pause_s * 2, PROBE_MAX_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._again.wait()
            self._again.clear()
            well = await self._look()
            if well != self.well:
                log.info("upstream_back" if well else "upstream_away", upstream=self._name)
                pause_s = PROBE_FIRST_S
            self.well = well


def troubles_of(label: str, failure: ServiceError | None) -> tuple[str, ...]:
    """Words for telemetry's ``degraded``; none when nothing failed."""
    if failure is None:
        return ()
    return (f"{label}: remote-not-allowed" if isinstance(failure, RemoteNotAllowed) else f"{label}-unreachable",)


def refusal(error: UpstreamRefused) -> ServiceError:
    """What an HTTP status means to the caller; the upstream's own words stay out, since they may quote the prompt."""
    if error.status == 404:
        return ModelNotFound("the upstream does not have this model")
    if error.status == 429 or (error.status == 503 and error.retry_after_s is not None):
        wait_s = UNTOLD_WAIT_S if error.retry_after_s is None else max(LEAST_WAIT_S, error.retry_after_s)
        return Overloaded("the upstream is overloaded", retry_after_s=wait_s)
    if error.status in (401, 403):
        return BackendFailed("the upstream refused its key", reason="unauthorized")
    reason = "upstream_refused" if error.status in OF_THE_REQUEST else "upstream_error"
    return BackendFailed(f"the upstream answered with status {error.status}", reason=reason)


class _named_failures:  # noqa: N801 - reads as the verb it is in a with statement
    """Turns what the HTTP client raises into BackendFailed with a bounded reason."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import aiohttp

        if isinstance(error, RemoteAddress) or isinstance(getattr(error, "os_error", None), RemoteAddress):
            raise RemoteNotAllowed("the server's name means an address beyond this network now") from error
        if isinstance(error, TimeoutError):
            raise BackendFailed("the upstream did not answer in time", reason="timeout") from error
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            raise BackendFailed("the upstream's certificate is not trusted", reason="tls") from error
        if isinstance(error, aiohttp.ClientConnectorError):
            raise BackendFailed("the upstream can't be reached", reason="unreachable") from error
        if isinstance(error, aiohttp.ClientError | OSError):
            raise BackendFailed("the upstream broke off", reason="broke_off") from error
        if isinstance(error, ValueError | LookupError | TypeError | AttributeError):
            # Whatever reads an upstream's JSON meets a shape that it did not expect in one of these.
            raise BackendFailed("the upstream's answer can't be read", reason="protocol") from error


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    body = await response.content.read(ERROR_BYTES)
    told = response.headers
    wait_s = seconds_to_wait(told.get("retry-after"), told.get("date"), datetime.now(UTC))
    raise UpstreamRefused(response.status, body, wait_s)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length up to a bound: aiohttp's own reader stops at its buffer's size."""
    rest = b""
    async for piece in response.content.iter_any():
        rest += piece
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line.rstrip(b"\r")
        if len(rest) > LINE_BYTES:
            raise ValueError("a line without end")
    if rest:
        yield rest
