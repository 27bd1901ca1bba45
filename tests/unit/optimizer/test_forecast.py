"""What past weeks say of how long it stays quiet."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.optimizer.idleness import forecast as module
from services.optimizer.idleness.forecast import (
    FARTHEST_H,
    HALF_LIFE_S,
    HOUR_S,
    HOURS,
    Weeks,
    careful_rates,
    decayed,
    forecast,
    observed,
)

NOW = 1_800_000_000.0


def weeks(rate_of: list[float], count: int = 4, seed: int = 7) -> Weeks:
    """So many weeks of visits drawn at those rates, by hour of the week."""
    drawn, found = random.Random(seed), Weeks(at_s=NOW)
    for number in range(count * HOURS):
        hour = number % HOURS
        visits = sum(drawn.random() < rate_of[hour] / 60 for _ in range(60))
        found = observed(found, hour, NOW + number * HOUR_S, quiet_s=HOUR_S, visits=visits)
    return found


WORKDAY = [1.5 if 8 <= hour % 24 < 18 and hour < 120 else 0.05 for hour in range(HOURS)]


def test_nothing_is_foretold_before_a_day_was_seen() -> None:
    assert forecast(observed(Weeks(), 3, NOW, quiet_s=HOUR_S), 3.0).quiet_s is None


def test_a_night_is_expected_to_stay_quiet_longer_than_a_morning() -> None:
    known = weeks(WORKDAY)
    evening, morning = forecast(known, 20.0).quiet_s, forecast(known, 9.0).quiet_s
    assert evening is not None
    assert morning is not None
    assert evening > 3 * HOUR_S
    assert morning < HOUR_S


def test_the_rates_are_learnt_carefully_and_shrunk() -> None:
    rates = careful_rates(weeks(WORKDAY, count=8))
    busy = sorted(rates[hour] for hour in range(HOURS) if WORKDAY[hour] > 1)
    assert 1.5 < busy[len(busy) // 2] < 3.0, "above the true rate, for caution, and not far"
    one_visit = observed(weeks([0.02] * HOURS), 50, NOW + 5 * 7 * 86400, quiet_s=60.0, visits=1)
    assert careful_rates(one_visit)[50] < 1.0, "one visit makes no busy hour"


def test_old_weeks_count_for_less() -> None:
    known = observed(Weeks(at_s=NOW), 5, NOW, quiet_s=HOUR_S, visits=4)
    later = decayed(known, NOW + HALF_LIFE_S)
    assert later.visits[5] == pytest.approx(2.0)
    assert later.quiet_h[5] == pytest.approx(0.5)
    assert decayed(known, NOW - 100.0).visits == known.visits, "a clock that was set back"


@given(st.floats(0.0, 167.99), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_forecast_is_bounded(hour: float, seed: int) -> None:
    drawn = random.Random(seed)
    visits = tuple(drawn.choice([0.0, 1.0, 30.0]) for _ in range(HOURS))
    known = Weeks(visits, tuple(drawn.choice([0.0, 1.0, 4.0]) + 0.5 for _ in range(HOURS)), NOW)
    quiet_s = forecast(known, hour).quiet_s
    assert quiet_s is not None
    assert 0.0 < quiet_s <= FARTHEST_H * HOUR_S
    assert all(math.isfinite(rate) and rate > 0 for rate in careful_rates(known))


def check_more_visits_never_mean_a_longer_quiet() -> None:
    seldom, often = weeks([0.1] * HOURS), weeks([1.0] * HOURS)
    for hour in (0.0, 50.5, 167.9):
        longer, shorter = forecast(seldom, hour).quiet_s, forecast(often, hour).quiet_s
        assert longer is not None
        assert shorter is not None
        assert shorter < longer


def test_more_visits_never_mean_a_longer_quiet() -> None:
    check_more_visits_never_mean_a_longer_quiet()


def test_a_forecast_that_looks_at_no_week_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "careful_rates", lambda _: (0.5,) * HOURS)
    with pytest.raises(AssertionError):
        check_more_visits_never_mean_a_longer_quiet()
