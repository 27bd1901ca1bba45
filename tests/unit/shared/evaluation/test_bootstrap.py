"""An interval holds the truth as often as it says, over units that are independent, and follows the seed alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared.evaluation.bootstrap import (
    LEAST_UNITS,
    Comparison,
    Totals,
    compare_means,
    compare_ranks,
    interval,
    student,
    totals,
)

TRIALS = 400


def compared(gains: np.ndarray, *, seed: int = 0, resamples: int = 1000) -> Comparison:
    """One value a unit, which was 1 and grew by so much."""
    ones = np.ones(len(gains))
    before, after = Totals(ones, ones), Totals(ones + gains, ones)
    return compare_means("m", before, after, better="higher", seed=seed, resamples=resamples)


@pytest.mark.parametrize("units", [LEAST_UNITS, 16])
def test_an_interval_holds_the_truth_as_often_as_it_says(units: int) -> None:
    """Of 400 trials 20 miss by right; three standard deviations are 13."""
    draw = np.random.default_rng(units)
    missed = 0
    for trial in range(TRIALS):
        found = compared(draw.normal(0.3, 1.0, units), seed=trial)
        missed += not found.low <= 0.3 <= found.high
    assert 7 <= missed <= 33


def test_bounds_that_were_not_moved_outwards_would_miss_too_often() -> None:
    """A mutation of the test above: plain percentiles, of five units."""
    draw = np.random.default_rng(5)
    missed = 0
    for _ in range(TRIALS):
        gains = draw.normal(0.3, 1.0, 5)
        means = gains[draw.integers(0, 5, (1000, 5))].mean(axis=1)
        low, high = np.quantile(means, (0.025, 0.975))
        missed += not low <= 0.3 <= high
    assert missed > 40


def test_tokens_are_no_units() -> None:
    """Twenty tokens of a conversation that all gain the same say no more than one of them."""
    draw = np.random.default_rng(1)
    gains = draw.normal(0.0, 1.0, 8)
    conversations = [f"c{at}" for at in range(8) for _ in range(20)]
    before = totals(np.ones(160), conversations)
    whole = compare_means("m", before, totals(1 + np.repeat(gains, 20), conversations), better="higher")
    by_token = compared(np.repeat(gains, 20), resamples=10_000)
    assert whole.units == 8
    assert whole.high - whole.low > 3 * (by_token.high - by_token.low)


GAINS = st.lists(st.floats(-5, 5).map(lambda one: round(one, 3)), min_size=LEAST_UNITS, max_size=12)


@settings(max_examples=50, deadline=None)
@given(gains=GAINS, seed=st.integers(0, 99))
def test_lower_is_better_turned_round(gains: list[float], seed: int) -> None:
    ones = np.ones(len(gains))
    before, after = Totals(ones, ones), Totals(ones + np.array(gains), ones)
    up, down = (
        compare_means("m", *both, better=better, seed=seed, resamples=200)  # type: ignore[arg-type]
        for both, better in (((before, after), "higher"), ((before, after), "lower"))
    )
    assert up.gain == pytest.approx(-down.gain, abs=1e-9)
    assert up.low - 1e-9 <= up.high
    # What speaks for the change lies further out than what speaks against it, whichever way is up.
    assert up.low <= -down.high + 1e-9
    assert down.low <= -up.high + 1e-9


@settings(max_examples=30, deadline=None)
@given(gains=GAINS, seed=st.integers(0, 99))
def test_the_seed_alone_decides(gains: list[float], seed: int) -> None:
    assert compared(np.array(gains), seed=seed) == compared(np.array(gains), seed=seed)


def test_the_order_of_units_moves_a_bound_by_chance_alone() -> None:
    gains = np.random.default_rng(3).normal(0.2, 1.0, 30)
    one, other = (compared(order, resamples=20_000) for order in (gains, gains[::-1]))
    assert one.gain == pytest.approx(other.gain)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.03)


def test_too_few_units_have_no_bounds() -> None:
    few = compared(np.ones(LEAST_UNITS - 1))
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert few.gain == 1.0
    assert math.isnan(interval(np.array([]), 9)[0])


def test_long_conversations_count_for_their_tokens() -> None:
    before = Totals(np.array([10.0, 1, 1, 1, 1]), np.array([10.0, 1, 1, 1, 1]))
    after = Totals(np.array([20.0, 1, 1, 1, 1]), before.counts)
    assert compare_means("m", before, after, better="higher").after == pytest.approx(24 / 14)
    with pytest.raises(ValueError, match="other units"):
        compare_means("m", before, Totals(after.sums, after.counts[::-1]), better="higher")


def test_a_rank_correlation_that_grew_is_seen_and_one_that_didn_t_isn_t() -> None:
    draw = np.random.default_rng(2)
    truth = draw.normal(size=120)
    noisy, same, clear = (truth + draw.normal(size=120) * noise for noise in (2.0, 2.0, 0.5))
    grew, stayed = (compare_ranks("s", noisy, made, truth, resamples=400) for made in (clear, same))
    assert grew.low > 0.2
    assert stayed.low < 0.0 < stayed.high
    assert compare_ranks("s", noisy, clear, truth, resamples=50).low > 0.0


def test_quantiles_are_those_of_the_tables() -> None:
    """Student's distribution at 0.975, from Fisher and Yates."""
    table = {1: 12.706, 2: 4.303, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980, 1000: 1.960}
    for freedom, expected in table.items():
        assert student(0.975, freedom) == pytest.approx(expected, abs=0.003)
