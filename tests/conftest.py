"""What all tests share: property tests judge results, never the speed of a busy machine, and who is to be alone is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.turns import turn

settings.register_profile("mongars", deadline=None, print_blob=True)
settings.load_profile("mongars")

LONGEST = (
    "tests/integration/cli/test_life.py",
    "tests/e2e/test_doctor.py",
)
"""The files that take longest, the longest first: begun last, one of them would end long after everything else."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which workers are given files."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """With several workers, what is ``alone`` waits for the others, and they for it; the time limit begins after."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    folder = Path(tempfile.gettempdir()) / f"mongars-tests-{run}"
    with turn(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)
