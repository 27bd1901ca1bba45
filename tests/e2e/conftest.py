"""Installations for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.e2e.person import Person
from tests.support import language_model
from tests.support.installation import Installation, installation


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One running installation without a language model, shared by tests that neither stop nor break it."""
    with installation(tmp_path_factory.mktemp("installation") / "state") as made:
        made.up()
        made.wait_whole()
        yield made


@pytest.fixture(scope="session")
def models() -> Path:
    """Holds a language model that was trained a little: ``tiny`` (Hugging Face) and ``tiny.gguf``."""
    return language_model.cached()


@pytest.fixture
def make_installation(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Makes installations of one's own, not started yet: ``make_installation("name", MONGARS_X="…")``."""
    with ExitStack() as stack:

        def make(name: str = "state", **environment: str) -> Installation:
            return stack.enter_context(installation(tmp_path / name, environment))

        yield make


@pytest.fixture
def meet() -> Iterator[Callable[..., Person]]:
    """Makes people: ``meet(installation, "ada")`` with a new key, ``meet(installation, key=…)`` with an old one."""
    with ExitStack() as stack:

        def make(installed: Installation, user: str = "", *, key: str = "", memory: str = "read-write") -> Person:
            return stack.enter_context(closing(Person(installed.url, key or installed.key(user, memory))))

        yield make
