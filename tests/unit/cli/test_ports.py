"""Choosing ports, and saying that one is taken."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from cli import ports
from cli.errors import CommandError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_the_preferred_port_is_taken_when_it_is_free(taken: int) -> None:
    free = ports.choose(taken)
    assert ports.choose(free) == free


def test_another_port_is_found_when_the_preferred_one_is_taken(taken: int) -> None:
    found = ports.choose(taken)
    assert found != taken
    assert ports.is_free(found)


def test_the_other_port_is_near_the_preferred_one(taken: int) -> None:
    assert taken < ports.choose(taken) < taken + 20


def test_a_port_that_is_meant_for_another_part_is_not_chosen() -> None:
    first = ports.choose(20_000)
    assert ports.choose(first, taken=frozenset({first})) != first


def test_a_taken_port_is_refused_with_its_number_its_holder_and_the_remedy(taken: int) -> None:
    with pytest.raises(CommandError) as caught:
        ports.require_free(taken, "the gateway", "mongars up --port N")
    assert str(taken) in caught.value.problem
    assert f"process {os.getpid()}" in caught.value.problem
    assert caught.value.remedy == "mongars up --port N"


def test_a_free_port_is_no_problem(taken: int) -> None:
    ports.require_free(ports.choose(taken), "the gateway", "")


def test_who_listens_is_told_from_who_does_not(taken: int) -> None:
    assert ports.listens(os.getpid(), taken)
    assert not ports.listens(os.getppid(), taken)
    assert not ports.listens(2**22 + 1, taken), "nobody has that number"
