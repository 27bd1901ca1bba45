"""A night that goes on while people ask."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

REQUESTS = os.environ.get("MONGARS_SOAK_REQUESTS", "10000")
"""On either side."""


@pytest.mark.soak
def test_those_who_ask_during_a_night_wait_no_longer_and_it_makes_way_within_a_tenth_of_a_second() -> None:
    done = subprocess.run([sys.executable, "-m", "bench.night_load", "--requests", REQUESTS], check=False)
    assert done.returncode == 0
