"""Stack distances tell what a cache of every size holds, exactly while all keys are followed."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.cache import distances
from libs.shared.cache.curves import HOUR_S, UseCurve, steps_to
from libs.shared.cache.distances import StackDistances

MIB = 1024 * 1024
KEYS = st.lists(st.sampled_from([f"user-{n}" for n in range(12)]), max_size=120)


def held_by(uses: Sequence[str], sizes: dict[str, int], room: int) -> list[bool]:
    """What a cache of that size has when it is asked, simulated: it gives up the longest unused."""
    cache: OrderedDict[str, int] = OrderedDict()
    found = []
    for key in uses:
        found.append(key in cache)
        cache[key] = sizes[key]
        cache.move_to_end(key)
        while sum(cache.values()) > room:
            cache.popitem(last=False)
    return found


def told_by(uses: Sequence[str], sizes: dict[str, int], room: int, most: int = 64) -> list[bool]:
    following = StackDistances(most)
    told = [following.note(key, sizes[key]) for key in uses]
    return [one is not None and one.distance is not None and one.distance <= room for one in told]


def check_every_size_is_told_exactly(uses: Sequence[str], seed: int) -> None:
    chance = random.Random(seed)
    sizes = {key: chance.randint(1, 5) for key in sorted(set(uses))}
    for room in range(1, 61):
        assert told_by(uses, sizes, room) == held_by(uses, sizes, room)


@given(KEYS, st.integers(0, 3))
def test_every_size_is_told_exactly(uses: list[str], seed: int) -> None:
    check_every_size_is_told_exactly(uses, seed)


def test_the_check_notices_that_uses_in_between_are_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StackDistances, "_add", lambda self, place, size: added(self, place, size) if size > 0 else 0)
    uses = [f"user-{n * n % 5}" for n in range(40)]
    with pytest.raises(AssertionError):
        check_every_size_is_told_exactly(uses, 1)


added = StackDistances._add


def test_places_are_numbered_anew_without_changing_anything() -> None:
    chance = random.Random(3)
    uses = [f"user-{chance.randrange(7)}" for _ in range(500)]
    sizes = {f"user-{n}": n + 1 for n in range(7)}
    for room in range(1, 30):
        assert told_by(uses, sizes, room, most=7) == held_by(uses, sizes, room)


def test_many_keys_are_followed_in_bounded_memory_and_told_of_nearly() -> None:
    chance = random.Random(5)
    following = StackDistances(400, salt=b"0" * 16)
    uses = [f"user-{int(chance.paretovariate(0.6)) % 8000}" for _ in range(40_000)]
    cache: OrderedDict[str, None] = OrderedDict()
    hits = told = weight = 0.0
    for key in uses:
        hits += key in cache
        cache[key] = None
        cache.move_to_end(key)
        if len(cache) > 1000:
            cache.popitem(last=False)
        one = following.note(key)
        if one is not None:
            weight += one.weight
            told += one.weight * (one.distance is not None and one.distance <= 1000)
    assert len(following._places) <= 400
    assert len(following._largest) <= 401
    assert abs(told / weight - hits / len(uses)) < 0.06
    assert following.held == pytest.approx(len(set(uses)), rel=0.2)


def test_salts_differ_and_no_key_is_kept() -> None:
    one, other = StackDistances(), StackDistances()
    one.note("somebody")
    other.note("somebody")
    assert set(one._places) != set(other._places)
    assert "somebody" not in repr(vars(one))


def test_hours_tell_what_each_size_would_have_held() -> None:
    curve = UseCurve((1, 2, 4))
    for number in range(12):
        curve.used(f"user-{number % 3}", MIB, now=number * HOUR_S / 6)
    first, second = curve.hours
    assert (first.uses, first.hits, first.held_mib) == (6.0, (0.0, 0.0, 3.0), 3.0)
    assert (second.uses, second.hits) == (6.0, (0.0, 0.0, 6.0)), "three take turns: only three fit all"


def test_hours_are_bounded() -> None:
    curve = UseCurve((1,))
    for number in range(2000):
        curve.used("user", 1, now=number * HOUR_S)
    assert len(curve.hours) == 14 * 24


def test_a_miss_costs_what_the_last_ones_took() -> None:
    curve = UseCurve((1,))
    assert curve.miss_s is None
    for _ in range(200):
        curve.brought(0.5)
    assert curve.miss_s == pytest.approx(0.5)
    curve.brought(1.5)
    assert curve.miss_s == pytest.approx(0.55)


def test_sizes_go_up_to_the_room() -> None:
    assert steps_to(100, 16) == (16, 24, 32, 48, 64, 96, 100)
    assert steps_to(10, 16) == (16,)
    assert max(map(len, (steps_to(1 << n, 16) for n in range(40)))) <= 64
    assert distances.MOST_KEYS == 2048
