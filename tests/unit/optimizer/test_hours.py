"""Hours of the day, past midnight too."""

from __future__ import annotations

from datetime import time

import pytest

from services.optimizer.idleness.hours import Hours
from services.optimizer.settings import OptimizerSettings


@pytest.mark.parametrize(
    ("written", "now", "inside"),
    [
        ("22:00-07:00", time(23), True),
        ("22:00-07:00", time(6, 59), True),
        ("22:00-07:00", time(7), False),
        ("09:30-17:00", time(9, 30), True),
        ("09:30-17:00", time(17), False),
        ("08:00-08:00", time(3), True),
        ("20:00-24:00", time(23, 59), True),
    ],
)
def test_hours_end_before_their_end_and_may_pass_midnight(written: str, now: time, inside: bool) -> None:
    assert (now in Hours.read(written)) is inside


@pytest.mark.parametrize("written", ["", "22-7", "22:00", "25:00", "22:00 to 07:00", "22:99-23:00"])
def test_what_is_no_hours_is_refused_at_the_start(written: str) -> None:
    with pytest.raises(ValueError, match=r"hours|minute"):
        Hours.read(written)
    if written:
        with pytest.raises(ValueError, match="sleep_only"):
            OptimizerSettings(sleep_only=written)
