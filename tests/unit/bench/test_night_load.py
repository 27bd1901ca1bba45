"""The night's load bench: what it draws, and what it makes of it."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from bench.night_load import Side, ratio, within
from bench.poisson import moments


def test_requests_come_at_the_moments_of_a_poisson_process() -> None:
    at = list(moments(5.0, 4000.0, seed=1))
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert at == sorted(at)
    assert len(at) == pytest.approx(20_000, rel=0.03)
    assert sum(gap > 0.2 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1.0), rel=0.05)
    assert at != list(moments(5.0, 4000.0, seed=2))


def blocks(late: float, seed: int) -> Side:
    """Eight of 500 requests, of which each fiftieth takes ``late`` times as long."""
    draw = random.Random(seed)
    return Side([[draw.gauss(15, 1) * (late if n % 50 == 0 else 1.0) for n in range(500)] for _ in range(8)])


def test_the_same_on_either_side_is_a_ratio_near_one_and_twice_as_slow_is_not() -> None:
    found, low, high = ratio(blocks(1.3, 1), blocks(1.3, 2), 200)
    assert low <= 1.0 <= high
    assert found == pytest.approx(1.0, abs=0.05)
    assert ratio(blocks(1.3, 1), blocks(2.6, 2), 200)[1] > 1.5


def test_how_soon_it_made_way_is_the_bound_that_so_many_keep_to() -> None:
    seen = {0.005: 90.0, 0.1: 99.0, 0.25: 100.0, math.inf: 100.0}
    assert [within(seen, share) for share in (0.5, 0.99, 1.0)] == [5.0, 100.0, 250.0]
    assert within({0.1: 98.0, math.inf: 100.0}, 0.99) == math.inf
    assert within({}, 0.5) == math.inf, "nothing measured is not soon"
