"""What is left of a memory: less with age, more with use and importance, all of what is pinned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cognition import strength as strengths
from services.cognition.strength import stability_days, strength

NOW = 1_800_000_000.0
DAY = 86_400.0


def left(days: float, uses: int = 0, importance: float = 0.0, *, pinned: bool = False) -> float:
    return strength(NOW - days * DAY, 0.0, uses, importance, pinned=pinned, now=NOW)


def test_nine_tenths_are_left_after_its_stability() -> None:
    assert left(stability_days(0, 0.0)) == pytest.approx(0.9)
    assert left(stability_days(3, 0.5), 3, 0.5) == pytest.approx(0.9)


def check_decay(days: float, more: float, uses: int, importance: float) -> None:
    now = left(days, uses, importance)
    assert 0 < left(days + more, uses, importance) < now <= 1
    assert left(days, uses + 1, importance) >= now
    assert left(days, uses, min(1.0, importance + 0.1)) >= now


@given(st.floats(0, 40_000), st.floats(0.5, 1000), st.integers(0, 500), st.floats(0, 1))
def test_age_weakens_and_use_and_importance_keep(days: float, more: float, uses: int, importance: float) -> None:
    check_decay(days, more, uses, importance)


def test_a_memory_that_never_fades_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strengths, "_DECAY", 0.0)
    with pytest.raises(AssertionError):
        check_decay(10, 10, 0, 0.0)


def test_what_is_pinned_does_not_decay() -> None:
    assert left(40_000, pinned=True) == 1.0


def test_a_use_begins_the_count_anew() -> None:
    assert strength(NOW - 900 * DAY, NOW, 1, 0.0, pinned=False, now=NOW) == 1.0


def test_a_clock_ahead_of_ours_breaks_nothing() -> None:
    assert left(-5) == 1.0
