"""The made-up memories of the sleep bench: the same from the same seed, and near misses that are none of the same."""

from __future__ import annotations

import pytest

from bench.sleep import repeating
from bench.sleep.made_up import WAYS, made_up
from bench.sleep.repeating import pairs
from services.optimizer.digesting.making import digests


def test_the_same_seed_makes_the_same_memory() -> None:
    assert made_up("u", 100, 10, seed=3) == made_up("u", 100, 10, seed=3)
    assert made_up("u", 100, 10, seed=3) != made_up("u", 100, 10, seed=4)


def test_each_item_is_told_twice_and_missed_twice() -> None:
    made = made_up("u", 100, 20, seed=3)
    for item in range(20):
        first, again, *misses = (one for one in made.told if one.item == item)
        assert (first.way, again.way, again.tells) == ("first", WAYS[item % len(WAYS)], first.tells)
        assert len(misses) == 2
        assert all(miss.tells not in (first.tells, first.turn.text) for miss in misses)


def test_a_key_that_merges_everything_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [made_up("u", 100, 20, seed=3)]
    assert pairs(made)["precision"] == 1.0
    monkeypatch.setattr(
        repeating, "digests", lambda said: [one.model_copy(update={"keys": b"the same"}) for one in digests(said)]
    )
    assert pairs(made)["precision"] < 0.1
