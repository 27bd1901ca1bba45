"""A cache in two layers, on a real broker and in memory: shared, as short-lived as promised, and never brought back."""

from __future__ import annotations

import asyncio

import pytest

from libs.shared.bus.base import KeyValue
from libs.shared.cache import LayeredCache, SharedLayer, TtlCache
from libs.shared.contracts.base import Message, Principal
from libs.shared.contracts.sessions import CREDENTIALS
from tests.contract.conftest import Connect

PATIENCE_S = 10
KEY = "key.a"
TTL_S = 60.0


class Known(Message):
    """What is cached here."""

    word: str


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Whoever knows: counts how often it is asked, and answers when told."""

    def __init__(self, word: str | None = "first") -> None:
        self.word, self.asked = word, 0
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def load(self) -> Known | None:
        self.asked += 1
        read = self.word
        self.begun.set()
        await self.go_on.wait()
        return None if read is None else Known(word=read)


def process(bucket: KeyValue, clock: Clock) -> LayeredCache[Known]:
    """The cache as one process has it."""
    inner: TtlCache[str, Known | None] = TtlCache("api_keys", max_entries=16, ttl_s=TTL_S, clock=clock)
    return LayeredCache(inner, SharedLayer("api_keys", bucket, Known, ttl_s=TTL_S, clock=clock))


async def two(connect: Connect) -> tuple[LayeredCache[Known], LayeredCache[Known], KeyValue, Clock]:
    """Two processes of the api, persistence's view of the bucket, and their clock."""
    clock = Clock()
    one, other = [process((await connect(Principal.API)).bucket(CREDENTIALS), clock) for _ in range(2)]
    return one, other, (await connect(Principal.PERSISTENCE)).bucket(CREDENTIALS), clock


async def test_what_one_process_loaded_another_does_not_ask_for(connect: Connect) -> None:
    one, other, _, _ = await two(connect)
    source = Source()
    assert await one.get(KEY, source.load) == Known(word="first")
    assert await other.get(KEY, source.load) == Known(word="first")
    assert source.asked == 1


async def test_a_promoted_value_lives_no_longer_than_it_would_have(connect: Connect) -> None:
    one, other, _, clock = await two(connect)
    await one.get(KEY, Source().load)
    clock.now += TTL_S - 1
    late = Source("second")
    assert await other.get(KEY, late.load) == Known(word="first")
    clock.now += 1
    assert await other.get(KEY, late.load) == Known(word="second")


async def test_many_who_ask_at_once_cause_one_look_and_one_load(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _, _, _ = await two(connect)
    looks = 0
    find = SharedLayer.find

    async def counted(self: SharedLayer[Known], key: str) -> object:
        nonlocal looks
        looks += 1
        return await find(self, key)

    monkeypatch.setattr(SharedLayer, "find", counted)
    source = Source()
    answers = await asyncio.gather(*(one.get(KEY, source.load) for _ in range(20)))
    assert set(answers) == {Known(word="first")}
    assert (looks, source.asked) == (1, 1)


async def test_what_does_not_exist_is_not_shared(connect: Connect) -> None:
    one, other, theirs, _ = await two(connect)
    source = Source(None)
    assert await one.get(KEY, source.load) is None
    assert await one.get(KEY, source.load) is None
    assert source.asked == 1
    assert await theirs.get(KEY) is None
    await other.get(KEY, source.load)
    assert source.asked == 2


async def test_a_discarded_key_is_gone_for_everyone_who_looks(connect: Connect) -> None:
    one, other, theirs, _ = await two(connect)
    source = Source()
    await one.get(KEY, source.load)
    await one.discard(KEY)
    assert await theirs.get(KEY) is None
    source.word = "second"
    assert await other.get(KEY, source.load) == Known(word="second")


async def test_values_that_meet_the_condition_are_gone_for_everyone_and_others_stay(connect: Connect) -> None:
    one, other, _, _ = await two(connect)
    for word in ("left", "right"):
        await one.get(f"key.{word}", Source(word).load)
    await one.discard_where(lambda known: known is not None and known.word == "left")
    source = Source("newer")
    assert await other.get("key.left", source.load) == Known(word="newer")
    assert await other.get("key.right", source.load) == Known(word="right")


async def test_a_load_from_before_a_deletion_brings_nothing_back(connect: Connect) -> None:
    """A key is revoked, committed and deleted here while another process reads what stood there before."""
    one, other, theirs, _ = await two(connect)
    source = Source("before")
    source.go_on.clear()
    loading = asyncio.create_task(one.get(KEY, source.load))
    async with asyncio.timeout(PATIENCE_S):
        await source.begun.wait()
        await theirs.delete(KEY)
        source.go_on.set()
        assert await loading == Known(word="before")
    assert await theirs.get(KEY) is None
    assert await other.get(KEY, Source(None).load) is None


async def test_a_load_that_an_event_overtakes_is_not_shared(connect: Connect) -> None:
    one, _, theirs, _ = await two(connect)
    source = Source("before")
    source.go_on.clear()
    loading = asyncio.create_task(one.get(KEY, source.load))
    async with asyncio.timeout(PATIENCE_S):
        await source.begun.wait()
        await one.discard_where(lambda known: known is not None)
        source.go_on.set()
        await loading
    assert await theirs.get(KEY) is None
    source.word = "after"
    assert await one.get(KEY, source.load) == Known(word="after")


@pytest.mark.parametrize(
    "left", [b"", b"not json", b'{"expires_at": 1e12}', b'{"expires_at": 1e12, "value": {"w": 1}}']
)
async def test_an_entry_that_cannot_be_read_is_loaded_again(connect: Connect, left: bytes) -> None:
    one, other, _, _ = await two(connect)
    bucket = (await connect(Principal.API)).bucket(CREDENTIALS)
    await bucket.put(KEY, left)
    assert await one.get(KEY, Source("fresh").load) == Known(word="fresh")
    assert await other.get(KEY, Source("unasked").load) == Known(word="fresh")


async def test_a_clock_that_is_a_little_behind_lengthens_no_life(connect: Connect) -> None:
    one, other, _, clock = await two(connect)
    clock.now += 4
    await one.get(KEY, Source().load)
    clock.now -= 4
    assert await other.get(KEY, Source("unasked").load) == Known(word="first")
    clock.now += TTL_S
    bucket = (await connect(Principal.API)).bucket(CREDENTIALS)
    await bucket.delete(KEY)
    assert await other.get(KEY, Source("second").load) == Known(word="second")


async def test_an_entry_from_before_a_clock_was_set_back_is_loaded_again(connect: Connect) -> None:
    one, other, _, clock = await two(connect)
    clock.now += 3600
    await one.get(KEY, Source().load)
    clock.now -= 3600
    assert await other.get(KEY, Source("anew").load) == Known(word="anew")


async def test_a_value_that_is_too_large_stays_in_its_process(connect: Connect) -> None:
    one, _, theirs, _ = await two(connect)
    source = Source("x" * 20_000)
    await one.get(KEY, source.load)
    assert await one.get(KEY, source.load) == Known(word="x" * 20_000)
    assert source.asked == 1
    assert await theirs.get(KEY) is None


async def test_of_the_test__an_unconditional_keeping_is_noticed(
    in_memory: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keep(self: SharedLayer[Known], key: str, value: Known, revision: int | None) -> None:
        await self._bucket.put(key, self._model(expires_at=9e12, value=value).model_dump_json().encode())

    monkeypatch.setattr(SharedLayer, "keep", keep)
    with pytest.raises(AssertionError):
        await test_a_load_from_before_a_deletion_brings_nothing_back(in_memory)


async def test_of_the_test__a_load_shared_in_spite_of_an_event_is_noticed(
    in_memory: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LayeredCache, "_discards", property(lambda self: 0, lambda self, value: None), raising=False)
    with pytest.raises(AssertionError):
        await test_a_load_that_an_event_overtakes_is_not_shared(in_memory)


async def test_of_the_test__a_whole_life_on_promotion_is_noticed(
    in_memory: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = TtlCache.put
    monkeypatch.setattr(TtlCache, "put", lambda self, key, value, ttl_s=None: put(self, key, value))
    with pytest.raises(AssertionError):
        await test_a_promoted_value_lives_no_longer_than_it_would_have(in_memory)
