"""A cache is bounded, its entries expire, and a key is loaded once however many ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared import cache as cache_module
from libs.shared.cache import TtlCache
from libs.shared.errors import Unavailable
from libs.shared.telemetry import metrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """What a cache stands before: counts how often it is asked, and answers when told."""

    def __init__(self) -> None:
        self.asked = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.answer: Callable[[], str] = lambda: f"answer {self.asked}"

    async def load(self) -> str:
        self.asked += 1
        self.begun.set()
        await self.go_on.wait()
        return self.answer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> TtlCache[str, str]:
    return TtlCache("models", max_entries=3, ttl_s=10, clock=clock)


@pytest.fixture
def source() -> Source:
    return Source()


async def ready(value: str) -> str:
    return value


async def never() -> str:
    raise AssertionError("loaded although it was kept")


def counted(name: str, **labels: str) -> float:
    text = metrics.metrics_text()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if line.startswith(name + "{") and all(w in line for w in wanted)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def test_a_kept_value_is_not_loaded_again(cache: TtlCache[str, str]) -> None:
    assert await cache.get("a", lambda: ready("first")) == "first"
    assert await cache.get("a", never) == "first"


async def test_a_value_expires(cache: TtlCache[str, str], clock: Clock) -> None:
    await cache.get("a", lambda: ready("old"))
    clock.now = 9.9
    assert await cache.get("a", never) == "old"
    clock.now = 10
    assert await cache.get("a", lambda: ready("new")) == "new"


async def test_being_used_does_not_lengthen_a_life(cache: TtlCache[str, str], clock: Clock) -> None:
    await cache.get("a", lambda: ready("old"))
    for moment in (4.0, 8.0):
        clock.now = moment
        await cache.get("a", never)
    clock.now = 12
    assert await cache.get("a", lambda: ready("new")) == "new"


async def test_the_least_recently_used_leaves_a_full_cache(cache: TtlCache[str, str]) -> None:
    for key in "abc":
        await cache.get(key, lambda: ready("kept"))
    await cache.get("a", never)
    await cache.get("d", lambda: ready("kept"))
    assert len(cache) == 3
    for key in "acd":
        assert await cache.get(key, never) == "kept"
    assert await cache.get("b", lambda: ready("again")) == "again"


async def waiters(cache: TtlCache[str, str], source: Source, count: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(cache.get("a", source.load)) for _ in range(count)]
    async with asyncio.timeout(5):
        await source.begun.wait()
    return tasks


async def test_many_who_ask_at_once_cause_one_load(cache: TtlCache[str, str], source: Source) -> None:
    tasks = await waiters(cache, source, 50)
    source.go_on.set()
    assert set(await asyncio.gather(*tasks)) == {"answer 1"}
    assert source.asked == 1
    assert await cache.get("a", never) == "answer 1"


async def test_an_error_reaches_everyone_and_is_not_kept(cache: TtlCache[str, str], source: Source) -> None:
    def fail() -> str:
        raise LookupError("gone")

    source.answer = fail
    tasks = await waiters(cache, source, 3)
    source.go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    assert await cache.get("a", lambda: ready("back")) == "back"


async def test_one_who_leaves_does_not_take_the_load_along(cache: TtlCache[str, str], source: Source) -> None:
    first, second = await waiters(cache, source, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.go_on.set()
    assert await second == "answer 1"


async def test_a_load_that_nobody_waits_for_is_ended(cache: TtlCache[str, str], source: Source) -> None:
    ended = asyncio.Event()

    async def load() -> str:
        try:
            return await source.load()
        finally:
            ended.set()

    task = asyncio.create_task(cache.get("a", load))
    async with asyncio.timeout(5):
        await source.begun.wait()
        task.cancel()
        await ended.wait()
    assert await cache.get("a", lambda: ready("fresh")) == "fresh"


@pytest.mark.parametrize("discard", [lambda c: c.discard("a"), lambda c: c.clear(), lambda c: c.discard_where(bool)])
async def test_what_is_discarded_while_it_loads_is_not_kept(
    cache: TtlCache[str, str], source: Source, discard: Callable[[TtlCache[str, str]], None]
) -> None:
    (early,) = await waiters(cache, source, 1)
    discard(cache)
    late = asyncio.create_task(cache.get("a", lambda: ready("after")))
    assert await late == "after"
    source.go_on.set()
    assert await early == "answer 1"
    assert await cache.get("a", never) == "after"


async def unavailable() -> str:
    raise Unavailable("the broker is away")


async def test_an_old_value_answers_for_a_while_when_it_cannot_be_asked_for(clock: Clock) -> None:
    cache: TtlCache[str, str] = TtlCache("models", max_entries=3, ttl_s=10, grace_s=5, clock=clock)
    await cache.get("a", lambda: ready("old"))
    clock.now = 14
    assert await cache.get("a", unavailable) == "old"
    with pytest.raises(LookupError):
        await cache.get("a", gone)
    clock.now = 15
    with pytest.raises(Unavailable):
        await cache.get("a", unavailable)
    assert len(cache) == 0


async def test_a_discarded_value_does_not_answer_in_its_grace(clock: Clock) -> None:
    cache: TtlCache[str, str] = TtlCache("models", max_entries=3, ttl_s=10, grace_s=5, clock=clock)
    await cache.get("a", lambda: ready("old"))
    cache.discard("a")
    with pytest.raises(Unavailable):
        await cache.get("a", unavailable)


async def gone() -> str:
    raise LookupError("gone")


async def test_only_the_values_that_meet_the_condition_are_discarded(cache: TtlCache[str, str]) -> None:
    for key, value in (("a", "of marie"), ("b", "of paul")):
        await cache.get(key, lambda value=value: ready(value))  # type: ignore[misc]
    cache.discard_where(lambda value: value == "of marie")
    assert await cache.get("b", never) == "of paul"
    assert await cache.get("a", lambda: ready("reloaded")) == "reloaded"


async def test_hits_misses_and_evictions_are_counted_by_layer(cache: TtlCache[str, str], clock: Clock) -> None:
    labels = {"cache_name": "models", "cache_layer": "process"}
    names = ("cache_hits_total", "cache_misses_total", "cache_evictions_total")
    before = [counted(name, **labels) for name in names]
    for key in "abcda":
        await cache.get(key, lambda: ready("x"))
    await cache.get("a", never)
    cache.discard("a")
    clock.now = 20
    await cache.get("d", lambda: ready("x"))
    assert [counted(name, **labels) - b for name, b in zip(names, before, strict=True)] == [1, 6, 4]


@pytest.mark.parametrize(("max_entries", "ttl_s"), [(0, 1.0), (1, 0.0)])
def test_a_cache_without_room_or_time_is_refused(max_entries: int, ttl_s: float) -> None:
    with pytest.raises(ValueError, match="room"):
        TtlCache("models", max_entries=max_entries, ttl_s=ttl_s)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6)), max_size=60))
def test_it_is_never_larger_than_its_bound_nor_older_than_its_time(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    cache: TtlCache[str, float] = TtlCache("models", max_entries=3, ttl_s=10, clock=clock)

    async def now() -> float:
        return clock.now

    async def run() -> None:
        for key, pause in steps:
            clock.now += pause
            assert clock.now - await cache.get(key, now) < 10
            assert len(cache) <= 3

    asyncio.run(run())


async def _unshared(self: TtlCache[str, str], key: str, load: Callable[[], Awaitable[str]]) -> str:
    value = await load()
    self.put(key, value)
    return value


async def test_of_the_test__without_single_flight_everyone_loads(
    cache: TtlCache[str, str], source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module.TtlCache, "_wait_for", _unshared)
    with pytest.raises(AssertionError):
        await test_many_who_ask_at_once_cause_one_load(cache, source)


async def test_of_the_test__keeping_a_discarded_load_is_noticed(
    cache: TtlCache[str, str], source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module.TtlCache, "_forget", lambda self, key, flight: True)
    with pytest.raises(AssertionError):
        await test_what_is_discarded_while_it_loads_is_not_kept(cache, source, lambda c: c.discard("a"))
