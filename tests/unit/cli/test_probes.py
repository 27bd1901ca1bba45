"""Telling our parts from somebody else's, from outside."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from cli.degraded import explained
from cli.probes import Readiness, broker_answers


@contextmanager
def greeting(words: bytes) -> Iterator[int]:
    """A server on a free port that says this to whoever comes first."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(words)

        thread = Thread(target=greet)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def test_our_broker_is_known_by_its_name() -> None:
    with greeting(b'INFO {"server_id":"X","server_name":"mongars-1"} \r\n') as port:
        assert broker_answers(port, "mongars-1")


@pytest.mark.parametrize(
    "words",
    [b'INFO {"server_name":"mongars-2"}\r\n', b"INFO what\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"", b"INFO []\r\n"],
)
def test_another_server_at_its_port_is_not_our_broker(words: bytes) -> None:
    with greeting(words) as port:
        assert not broker_answers(port, "mongars-1")


def test_nobody_at_its_port_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not broker_answers(port, "mongars-1")


def test_a_server_of_models_that_need_not_be_there_is_looked_for_and_not_loaded() -> None:
    assert explained("ollama: looking") == "ollama: is being looked for"
    assert Readiness(True, {}, ("no-model", "ollama: looking")).loading, "what it says passes in a moment"
    assert not Readiness(True, {}, ("no-model", "ollama-unreachable")).loading
