"""Stores of files on JetStream: parts first, then one word about them, so that none is ever there in half.

Laid out as the ``nats object`` command does. Parts are read one after another by their subject, which needs no
consumer.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from libs.shared.bus.base import ObjectAbout
from libs.shared.bus.calls import Calls
from libs.shared.bus.jetstream import API, JetStreamApi, Refused, erase, refusal
from libs.shared.bus.wire import Incoming
from libs.shared.contracts.base import KIB, MIB, ObjectStore
from libs.shared.errors import ArtefactCorrupt, InvalidRequest, ServiceError, Unavailable

PART = 256 * KIB
_SEQUENCE = "Nats-Sequence"
_STORED_AT = "Nats-Time-Stamp"
_ROLLUP = {"Nats-Rollup": "sub"}
_NOT_FOUND = 404
_TIMEOUT_S = 10.0
_MOST_NAME = 200


def checked_name(name: str) -> str:
    """``name`` itself. Raises InvalidRequest."""
    if not 0 < len(name) <= _MOST_NAME or not name.isascii() or not name.isprintable():
        raise InvalidRequest("an object's name is made of printable characters", field="name")
    return name


async def in_parts(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, all parts but the last of the same size."""
    held = b""
    async for piece in pieces:
        held += piece
        while len(held) >= PART:
            yield held[:PART]
            held = held[PART:]
    if held:
        yield held


class NatsObjects:
    """One store."""

    def __init__(self, store: ObjectStore, calls: Calls, *, keeps: bool) -> None:
        """``keeps``: whether this connection may delete."""
        self._store = store
        self._keeps = keeps
        self._calls = calls
        self._api = JetStreamApi(calls)

    async def put(self, name: str, pieces: AsyncIterable[bytes]) -> ObjectAbout:
        checked_name(name)
        before, nuid = await self.about(name), token_hex(11)
        try:
            about = await self._put(name, nuid, pieces)
        except BaseException:
            with suppress(ServiceError):
                await self._let_go(nuid)
            raise
        if before is not None:
            await self._let_go(before.nuid)
        return about

    async def about(self, name: str) -> ObjectAbout | None:
        where = self._about(checked_name(name))
        found = await self._direct(f"{API}.DIRECT.GET.{self._store.stream}.{where}", b"")
        return None if found is None else _read(found.body)

    async def get(self, name: str) -> AsyncIterator[bytes]:
        about = await self.about(name)
        if about is None:
            return
        digest, sequence, size = hashlib.sha256(), 0, 0
        for _ in range(about.parts):
            found = await self._next(self._parts(about.nuid), sequence)
            if found is None:
                raise ArtefactCorrupt("a part of an object is gone")
            sequence = int(found.header(_SEQUENCE) or "0")
            digest.update(found.body)
            size += len(found.body)
            yield found.body
        if size != about.size or digest.hexdigest() != about.sha256:
            raise ArtefactCorrupt("an object is not what was put")

    async def list(self) -> tuple[ObjectAbout, ...]:
        everything, found = f"{self._store.about_subject}.>", []
        sequence = 0
        while (one := await self._next(everything, sequence)) is not None:
            sequence = int(one.header(_SEQUENCE) or "0")
            if (about := _read(one.body)) is not None:
                found.append(about)
        return tuple(sorted(found, key=lambda about: about.name))

    async def delete(self, name: str) -> None:
        about = await self.about(name)
        await self._erase(self._about(name))
        if about is not None:
            await self._erase(self._parts(about.nuid))

    async def free_bytes(self) -> int:
        told = await self._ask(f"STREAM.INFO.{self._store.stream}", {})
        return max(0, int(told["config"]["max_bytes"]) - int(told["state"]["bytes"]))

    async def sweep(self, older_than_s: float) -> int:
        known = {about.nuid for about in await self.list()}
        swept = 0
        for subject in await self._parts_subjects():
            if subject.rpartition(".")[2] in known:
                continue
            first = await self._next(subject, 0)
            if first is not None and _age_s(first) >= older_than_s:
                await self._erase(subject)
                swept += 1
        return swept

    async def _put(self, name: str, nuid: str, pieces: AsyncIterable[bytes]) -> ObjectAbout:
        digest, size, parts = hashlib.sha256(), 0, 0
        async for part in in_parts(pieces):
            await self._stored(self._parts(nuid), part, {})
            digest.update(part)
            size, parts = size + len(part), parts + 1
        about = ObjectAbout(name, size, digest.hexdigest(), nuid, parts, datetime.now(UTC))
        await self._stored(self._about(name), _written(about, self._store.name), _ROLLUP)
        return about

    async def _stored(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        try:
            await self._api.store(subject, body, headers, timeout_s=_TIMEOUT_S)
        except Refused as error:
            raise refusal(error) from None

    async def _next(self, subject: str, after: int) -> Incoming | None:
        asked = json.dumps({"seq": after + 1, "next_by_subj": subject}).encode()
        return await self._direct(f"{API}.DIRECT.GET.{self._store.stream}", asked)

    async def _direct(self, subject: str, body: bytes) -> Incoming | None:
        found = await self._calls.exchange(subject, body, timeout_s=_TIMEOUT_S, limit=2 * MIB)
        if found.status == _NOT_FOUND:
            return None
        if found.status:
            raise Unavailable(f"the object store could not be read ({found.status})")
        return found

    async def _let_go(self, nuid: str) -> None:
        """What only who keeps the store may; what others leave is swept."""
        if self._keeps:
            await self._erase(self._parts(nuid))

    async def _erase(self, subject: str) -> None:
        """Overwrites what lies there."""
        sequence = 0
        while (found := await self._next(subject, sequence)) is not None:
            sequence = int(found.header(_SEQUENCE) or "0")
            await erase(self._api, self._store.stream, sequence)

    async def _parts_subjects(self) -> tuple[str, ...]:
        asked = {"subjects_filter": f"{self._store.parts_subject}.>"}
        told = await self._ask(f"STREAM.INFO.{self._store.stream}", asked)
        return tuple(told["state"].get("subjects") or ())

    async def _ask(self, verb: str, body: dict[str, Any]) -> Any:
        try:
            return await self._api.ask(verb, body, timeout_s=_TIMEOUT_S)
        except Refused as error:
            raise refusal(error) from None

    def _parts(self, nuid: str) -> str:
        return f"{self._store.parts_subject}.{nuid}"

    def _about(self, name: str) -> str:
        return f"{self._store.about_subject}.{urlsafe_b64encode(name.encode()).decode()}"


def _written(about: ObjectAbout, store: str) -> bytes:
    digest = urlsafe_b64encode(bytes.fromhex(about.sha256)).decode()
    told = {"name": about.name, "bucket": store, "nuid": about.nuid, "size": about.size, "chunks": about.parts}
    told |= {"digest": f"SHA-256={digest}", "options": {"max_chunk_size": PART}}
    told["mtime"] = about.put_at.isoformat().replace("+00:00", "Z")
    return json.dumps(told).encode()


def _read(body: bytes) -> ObjectAbout | None:
    """None for what was deleted, or can't be read: whoever may write may write nonsense."""
    try:
        told = json.loads(body)
        if told.get("deleted"):
            return None
        digest = urlsafe_b64decode(str(told["digest"]).removeprefix("SHA-256=")).hex()
        name, parts = checked_name(told["name"]), int(told["chunks"])
        put_at = datetime.fromisoformat(str(told["mtime"]))
        return ObjectAbout(name, int(told["size"]), digest, str(told["nuid"]), parts, put_at)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidRequest):
        return None


def _age_s(incoming: Incoming) -> float:
    stored = incoming.header(_STORED_AT) or ""
    try:
        at = datetime.fromisoformat(stored[:19] + "+00:00")
    except ValueError:
        return 0.0
    return (datetime.now(UTC) - at).total_seconds()
