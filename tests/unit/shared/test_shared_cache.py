"""A shared layer that is away costs patience once, is passed over for a while, and never an error."""

from __future__ import annotations

import asyncio

import pytest

from libs.shared.bus.base import Entry
from libs.shared.cache import LayeredCache, SharedLayer, TtlCache
from libs.shared.cache import shared as shared_module
from libs.shared.contracts.base import Message
from libs.shared.errors import Forbidden, ServiceError, StorageFull, Unavailable
from libs.shared.telemetry import metrics


class Word(Message):
    """What is cached here."""

    word: str


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bucket:
    """A bucket that fails as told: by an error, or by never answering."""

    def __init__(self) -> None:
        self.fails: ServiceError | None = None
        self.silent = False
        self.asked: list[str] = []
        self.kept: dict[str, bytes] = {}

    async def _answer(self, name: str) -> None:
        self.asked.append(name)
        if self.silent:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails

    async def read(self, key: str) -> Entry:
        await self._answer("read")
        return Entry(self.kept.get(key), 1)

    async def update(self, key: str, value: bytes, revision: int) -> bool:
        await self._answer("update")
        self.kept[key] = value
        return True

    async def delete(self, key: str) -> None:
        await self._answer("delete")
        self.kept.pop(key, None)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(bucket: Bucket, clock: Clock) -> LayeredCache[Word]:
    process: TtlCache[str, Word | None] = TtlCache("api_keys", max_entries=4, ttl_s=10, clock=clock)
    return LayeredCache(
        process,
        SharedLayer("api_keys", bucket, Word, ttl_s=10, clock=clock, pause_clock=clock),  # type: ignore[arg-type]
    )


async def loaded() -> Word:
    return Word(word="loaded")


def counted(name: str, **labels: str) -> float:
    wanted = [f'{label}="{value}"' for label, value in {"cache_layer": "kv", **labels}.items()]
    lines = [line for line in metrics.metrics_text().splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(w in line for w in wanted))


@pytest.mark.parametrize("error", [Unavailable("away"), StorageFull("full"), Forbidden("no")])
async def test_a_bucket_that_refuses_is_passed_over(
    cache: LayeredCache[Word], bucket: Bucket, clock: Clock, error: ServiceError
) -> None:
    bucket.fails = error
    assert await cache.get("a", loaded) == Word(word="loaded")
    assert await cache.get("b", loaded) == Word(word="loaded")
    assert bucket.asked == ["read"], "a pause asks nothing"
    clock.now += shared_module.PAUSE_S
    bucket.fails = None
    await cache.get("c", loaded)
    assert bucket.asked == ["read", "read", "update"]


async def test_a_bucket_that_never_answers_costs_patience_once(
    cache: LayeredCache[Word], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_module, "PATIENCE_S", 0.01)
    bucket.silent = True
    async with asyncio.timeout(5):
        for key in "abc":
            assert await cache.get(key, loaded) == Word(word="loaded")
    assert bucket.asked == ["read"]


async def test_a_bucket_that_is_full_loses_nothing_of_the_process(cache: LayeredCache[Word], bucket: Bucket) -> None:
    async def refuse(key: str, value: bytes, revision: int) -> bool:
        raise StorageFull("full")

    bucket.update = refuse  # type: ignore[method-assign]
    await cache.get("a", loaded)
    asked = len(bucket.asked)
    assert await cache.get("a", loaded) == Word(word="loaded")
    assert len(bucket.asked) == asked


async def test_a_discard_asks_even_in_a_pause(cache: LayeredCache[Word], bucket: Bucket) -> None:
    bucket.fails = Unavailable("away")
    await cache.get("a", loaded)
    await cache.discard("a")
    assert bucket.asked == ["read", "delete"]


async def test_what_each_layer_answered_is_counted(cache: LayeredCache[Word], bucket: Bucket, clock: Clock) -> None:
    names = ("cache_hits_total", "cache_misses_total", "cache_skipped_total", "cache_evictions_total")
    before = [counted(name) for name in names]
    await cache.get("a", loaded)  # a miss
    clock.now = 9
    other: TtlCache[str, Word | None] = TtlCache("api_keys", max_entries=4, ttl_s=10, clock=clock)
    shared = SharedLayer("api_keys", bucket, Word, ttl_s=10, clock=clock, pause_clock=clock)  # type: ignore[arg-type]
    second = LayeredCache(other, shared)
    await second.get("a", loaded)  # a hit
    clock.now = 10
    await second.get("a", loaded)  # expired in both: an eviction, and a miss
    await second.discard("a")  # an eviction
    bucket.fails = Unavailable("away")
    await second.get("b", loaded)  # skipped, and a miss
    assert [counted(name) - b for name, b in zip(names, before, strict=True)] == [1, 3, 1, 2]


async def test_values_have_at_most_so_many_bytes(clock: Clock) -> None:
    cache: TtlCache[str, bytes] = TtlCache(
        "embeddings", max_entries=9, ttl_s=10, max_bytes=10, size_of=len, clock=clock
    )
    for key, size in (("a", 4), ("b", 4), ("c", 4)):
        cache.put(key, bytes(size))
    assert len(cache) == 2
    cache.put("large", bytes(11))
    assert len(cache) == 2
    cache.put("b", bytes(2))
    cache.put("d", bytes(4))
    assert len(cache) == 3
    cache.discard("b")
    cache.clear()
    cache.put("whole", bytes(10))
    assert len(cache) == 1
