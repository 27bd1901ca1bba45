"""Key-value buckets on JetStream, with direct reads and with watches that need no consumer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from libs.shared.bus.base import Entry
from libs.shared.bus.calls import Calls
from libs.shared.bus.endpoints import log
from libs.shared.bus.jetstream import API, JetStreamApi, Refused, refusal
from libs.shared.bus.lanes import Lane, Tasks
from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import MIB, Bucket
from libs.shared.errors import InvalidRequest, Unavailable

OPERATION = "KV-Operation"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_SEQUENCE = "Nats-Sequence"
_WRONG_LAST_SEQUENCE = 10071
_NOT_FOUND = 404
_TIMEOUT_S = 3.0
_KEY = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*")
WATCH_BACKLOG = 4096


def checked(key: str) -> str:
    """``key`` itself. Raises InvalidRequest for what a subject can't hold."""
    if len(key) > 200 or not _KEY.fullmatch(key):
        raise InvalidRequest("a key is made of word characters and dots", field="key")
    return key


class NatsKeyValue:
    """One bucket."""

    def __init__(self, bucket: Bucket, transport: Transport, calls: Calls, tasks: Tasks) -> None:
        self._bucket = bucket
        self._transport = transport
        self._calls = calls
        self._tasks = tasks
        self._api = JetStreamApi(calls)

    async def get(self, key: str) -> bytes | None:
        found = await self._read(key)
        return None if found is None or found.header(OPERATION) is not None else found.body

    async def read(self, key: str) -> Entry:
        found = await self._read(key)
        if found is None:
            return Entry(None, 0)
        value = None if found.header(OPERATION) is not None else found.body
        return Entry(value, int(found.header(_SEQUENCE) or "0"))

    async def put(self, key: str, value: bytes) -> None:
        await self._write(key, value, {})

    async def update(self, key: str, value: bytes, revision: int) -> bool:
        try:
            await self._api.store(self._subject(key), value, {_EXPECTED: str(revision)}, timeout_s=_TIMEOUT_S)
        except Refused as error:
            if error.code != _WRONG_LAST_SEQUENCE:
                raise refusal(error) from None
            return False
        return True

    async def create(self, key: str, value: bytes) -> bool:
        revision = 0
        for _ in range(2):
            if await self.update(key, value, revision):
                return True
            last = await self.read(key)
            if last.value is not None or last.revision == 0:
                return False
            # the last entry is a deletion, which a new entry may follow
            revision = last.revision
        return False

    async def delete(self, key: str) -> None:
        await self._write(key, b"", {OPERATION: "DEL"})

    async def watch(self, handler: Callable[[str, bytes | None], Awaitable[None]]) -> None:
        lane = Lane(self._tasks, 1, WATCH_BACKLOG)
        prefix = self._bucket.watch_subject("")

        async def tell(incoming: Incoming) -> None:
            value = None if incoming.header(OPERATION) is not None else incoming.body
            try:
                await handler(incoming.subject.removeprefix(prefix), value)
            except Exception as error:
                log.error("handler_failed", endpoint=f"watch_{self._bucket.name}", exc_info=error)

        def changed(incoming: Incoming) -> None:
            if not lane.offer(lambda: tell(incoming)):
                log.warning("watch_overrun", bucket=self._bucket.name)

        await self._transport.subscribe(self._bucket.watch_subject(">"), changed)

    def _subject(self, key: str) -> str:
        return f"$KV.{self._bucket.name}.{checked(key)}"

    async def _write(self, key: str, value: bytes, headers: dict[str, str]) -> None:
        try:
            await self._api.store(self._subject(key), value, headers, timeout_s=_TIMEOUT_S)
        except Refused as error:
            raise refusal(error) from None

    async def _read(self, key: str) -> Incoming | None:
        """The last entry of ``key``, a deletion included."""
        subject = f"{API}.DIRECT.GET.KV_{self._bucket.name}.{self._subject(key)}"
        found = await self._calls.exchange(subject, b"", timeout_s=_TIMEOUT_S, limit=MIB)
        if found.status == _NOT_FOUND:
            return None
        if found.status:
            raise Unavailable(f"the bucket could not be read ({found.status})")
        return found
