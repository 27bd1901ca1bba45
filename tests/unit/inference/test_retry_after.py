"""``Retry-After`` in every form that a server may send it in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.inference.backends.retry_after import LONGEST_S, seconds_to_wait

NOW = datetime(2026, 11, 30, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("Mon, 30 Nov 2026 07:00:09 GMT", 9.0),
        ("Monday, 30-Nov-26 07:00:09 GMT", 9.0),
        ("Mon Nov 30 07:00:09 2026", 9.0),
        ("Mon, 30 Nov 2026 06:59:00 GMT", 0.0),
        ("9" * 400, LONGEST_S),
        ("Wed, 30 Dec 2026 07:00:00 GMT", LONGEST_S),
    ],
)
def test_seconds_and_dates_are_understood_and_bounded(told: str, wait_s: float) -> None:
    assert seconds_to_wait(told, None, NOW) == wait_s


@pytest.mark.parametrize("told", [None, "", "soon", "-3", "nan", "Mon, 30 Nov 99999 07:00:09 GMT", "\u0663"])
def test_what_says_neither_is_no_word(told: str | None) -> None:
    assert seconds_to_wait(told, None, NOW) is None


def test_a_server_with_a_wrong_clock_is_waited_for_as_long_as_it_means() -> None:
    told, its_own = "Mon, 30 Nov 2026 09:00:12 GMT", "Mon, 30 Nov 2026 09:00:07 GMT"
    assert seconds_to_wait(told, its_own, NOW) == 5.0
    assert seconds_to_wait(told, "no date", NOW) == LONGEST_S
