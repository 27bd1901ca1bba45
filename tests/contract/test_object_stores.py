"""Object stores, over NATS and in memory: whole or not at all, checked as they are read, bounded."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from libs.shared.bus.base import Bus, Objects
from libs.shared.bus.jetstream import JetStreamApi, erase
from libs.shared.bus.nats import NatsBus
from libs.shared.bus.objects import PART
from libs.shared.contracts.adapters import ARTEFACTS
from libs.shared.contracts.base import Principal
from libs.shared.errors import ArtefactCorrupt, Forbidden, StorageFull, TimedOut
from tests.contract.conftest import Connect
from tests.support.broker import TestBroker

WHOLE = bytes(range(256)) * (PART // 256 * 2 + 3)
SMALL = 512 * 1024


async def pieces(whole: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


async def broken() -> AsyncIterator[bytes]:
    yield bytes(PART)
    yield bytes(PART)
    raise OSError("the disk went away")


async def read(store: Objects, name: str) -> bytes:
    return b"".join([part async for part in store.get(name)])


async def kept_bytes(bus: NatsBus) -> int:
    info = await JetStreamApi(bus._calls).ask(f"STREAM.INFO.{ARTEFACTS.stream}")
    return int(info["state"]["bytes"])


async def test_what_was_put_comes_back_and_is_gone_when_it_is_deleted(connect: Connect) -> None:
    store = (await connect(Principal.PERSISTENCE)).objects(ARTEFACTS)
    put = await (await connect(Principal.CLI)).objects(ARTEFACTS).put("one", pieces(WHOLE))
    await store.put("two", pieces(b"2"))
    assert (put.size, put.sha256, put.parts) == (len(WHOLE), hashlib.sha256(WHOLE).hexdigest(), 3)
    assert await read(store, "one") == WHOLE
    assert [about.name for about in await store.list()] == ["one", "two"]
    await store.put("two", pieces(b"another"))
    assert await read(store, "two") == b"another"
    await store.delete("one")
    await store.delete("one")
    assert await store.about("one") is None
    assert await read(store, "one") == b""
    assert await store.list() == (await store.about("two"),)


async def test_one_whose_putting_breaks_off_is_never_there_and_one_before_it_stays(connect: Connect) -> None:
    store = (await connect(Principal.PERSISTENCE)).objects(ARTEFACTS)
    await store.put("one", pieces(b"before"))
    for name in ("one", "two"):
        with pytest.raises(OSError, match="went away"):
            await store.put(name, broken())
    assert await read(store, "one") == b"before"
    assert await store.about("two") is None


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[TestBroker]:
    async with TestBroker(tmp_path) as started:
        yield started


async def test_a_full_store_refuses_and_keeps_nothing_of_what_it_refused(in_memory: Connect) -> None:
    store = (await in_memory(Principal.PERSISTENCE)).objects(replace(ARTEFACTS, max_bytes=SMALL))
    await store.put("one", pieces(b"1"))
    with pytest.raises(StorageFull):
        await store.put("two", pieces(WHOLE))
    await store.put("three", pieces(b"3"))
    assert [about.name for about in await store.list()] == ["one", "three"]


async def test_a_full_store_of_the_broker_has_room_again_after_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.shared.bus.bootstrap.OBJECT_STORES", (replace(ARTEFACTS, max_bytes=SMALL),))
    async with TestBroker(tmp_path) as real:
        bus = await real.connect(Principal.PERSISTENCE)
        store = bus.objects(ARTEFACTS)
        await store.put("one", pieces(b"1"))
        before = await kept_bytes(bus)
        with pytest.raises(StorageFull):
            await store.put("two", pieces(WHOLE))
        assert await kept_bytes(bus) == before
        await store.put("three", pieces(bytes(PART)))
        assert [about.name for about in await store.list()] == ["one", "three"]


async def test_it_outlives_the_broker_and_what_a_dead_process_left_is_swept(real: TestBroker) -> None:
    bus = await real.connect(Principal.PERSISTENCE)
    store = bus.objects(ARTEFACTS)
    await store.put("one", pieces(WHOLE))
    await JetStreamApi(bus._calls).store(f"{ARTEFACTS.parts_subject}.orphan", bytes(1000), {})
    await real.stop()
    await real.start()
    await bus.transport.wait_connected(30)
    assert await read(store, "one") == WHOLE
    assert await store.sweep(3600) == 0
    assert await store.sweep(0) == 1
    assert await store.sweep(0) == 0
    assert await read(store, "one") == WHOLE


async def test_a_part_that_was_exchanged_is_noticed_by_whoever_reads(real: TestBroker) -> None:
    bus = await real.connect(Principal.PERSISTENCE)
    store = bus.objects(ARTEFACTS)
    about = await store.put("one", pieces(b"as it was"))
    api = JetStreamApi(bus._calls)
    await erase(api, ARTEFACTS.stream, 1)
    with pytest.raises(ArtefactCorrupt):
        await read(store, "one")
    await api.store(f"{ARTEFACTS.parts_subject}.{about.nuid}", b"as it is!", {})
    with pytest.raises(ArtefactCorrupt):
        await read(store, "one")


async def test_a_writer_that_does_not_keep_it_deletes_nothing_and_what_it_leaves_is_swept(real: TestBroker) -> None:
    keeper = (await real.connect(Principal.PERSISTENCE)).objects(ARTEFACTS)
    writer = (await real.connect(Principal.CLI)).objects(ARTEFACTS)
    room = await keeper.free_bytes()
    with pytest.raises(OSError, match="went away"):
        await writer.put("one", broken())
    await keeper.put("other", pieces(b"1"))
    with pytest.raises((Forbidden, TimedOut)):
        await writer.delete("other")
    assert await keeper.about("other") is not None
    assert await keeper.sweep(0) == 1
    await keeper.delete("other")
    assert await keeper.free_bytes() == room


@pytest.mark.parametrize("principal", [Principal.INFERENCE, Principal.API, Principal.COGNITION])
async def test_nobody_else_reads_or_writes_it(real: TestBroker, principal: Principal) -> None:
    bus: Bus = await real.connect(principal)
    with pytest.raises((Forbidden, TimedOut)):
        await bus.objects(ARTEFACTS).about("one")
