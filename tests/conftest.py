"""What all tests share: property tests judge results, never the speed of a busy machine, and who is to be alone is."""

from __future__ import annotations

import os
import shutil
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
    "tests/e2e/test_accept.py",
    "tests/integration/inference/test_ray_serve.py",
    "tests/e2e/test_own_memory.py",
    "tests/integration/cli/test_external_database.py",
    "tests/e2e/test_doctor.py",
    "tests/e2e/test_memory.py",
    "tests/integration/persistence/test_forgetting.py",
    "tests/e2e/test_upgrade.py",
    "tests/e2e/test_backup.py",
    "tests/integration/persistence/test_persistence_restarts.py",
    "tests/integration/persistence/test_canaries.py",
    "tests/e2e/test_documents.py",
    "tests/e2e/test_telemetry.py",
    "tests/integration/api/test_api_process.py",
    "tests/e2e/test_embedders.py",
    "tests/e2e/test_upstreams.py",
    "tests/integration/inference/test_service.py",
    "tests/e2e/test_kills.py",
    "tests/e2e/test_training.py",
    "tests/e2e/test_adapters.py",
    "tests/e2e/test_clients.py",
    "tests/e2e/test_models.py",
    "tests/integration/cognition/test_reading_documents.py",
    "tests/integration/test_broker_permissions.py",
)
"""The files that take longest, the longest first: begun last, one of them would end long after everything else."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which workers are given files."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """With several workers, what is ``alone`` waits for the others, and they for it; the time limit begins after."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with turn(_turns_of(os.getppid()), alone=item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_sessionfinish() -> None:
    """Whoever gave out the tests leaves nothing lying."""
    shutil.rmtree(_turns_of(os.getpid()), ignore_errors=True)


def _turns_of(controller: int) -> Path:
    """Where the workers of one process take turns."""
    return Path(tempfile.gettempdir()) / f"mongars-tests-{controller}"
