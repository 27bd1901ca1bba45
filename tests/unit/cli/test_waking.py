"""supervisord is woken for what ended by itself, instead of looking once a second."""

from __future__ import annotations

import select
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import events
from supervisor.states import ProcessStates

from cli.supervision.waking import Waker

CHILD = SimpleNamespace(config=SimpleNamespace(name="api"), pid=0, backoff=0)


@pytest.fixture
def waited_for() -> dict[int, Any]:
    """What supervisord waits for, by file descriptor."""
    return {}


@pytest.fixture
def waker(waited_for: dict[int, Any]) -> Iterator[Waker]:
    events.clear()
    made = Waker(SimpleNamespace(options=SimpleNamespace(get_socket_map=lambda: waited_for)))
    yield made
    made.close()
    events.clear()


def woken(waited_for: dict[int, Any]) -> bool:
    """Whether supervisord's wait would end at once."""
    return bool(select.select([fd for fd, channel in waited_for.items() if channel.readable()], [], [], 0)[0])


def end(times: int = 1) -> None:
    for _ in range(times):
        events.notify(events.ProcessStateExitedEvent(CHILD, ProcessStates.RUNNING, expected=False))


def test_a_process_that_ended_wakes_supervisord(waker: Waker, waited_for: dict[int, Any]) -> None:
    assert not woken(waited_for)
    end()
    assert woken(waited_for)


def test_it_is_woken_once_for_what_ended_together(waker: Waker, waited_for: dict[int, Any]) -> None:
    end(times=3)
    waker.handle_read_event()
    assert not woken(waited_for)


def test_a_process_that_was_stopped_or_waits_before_it_is_tried_again_wakes_nobody(
    waker: Waker, waited_for: dict[int, Any]
) -> None:
    events.notify(events.ProcessStateStoppedEvent(CHILD, ProcessStates.STOPPING))
    events.notify(events.ProcessStateBackoffEvent(CHILD, ProcessStates.STARTING))
    assert not woken(waited_for)


def test_more_ends_than_the_pipe_holds_do_not_stop_supervisord(waker: Waker, waited_for: dict[int, Any]) -> None:
    end(times=70_000)
    assert woken(waited_for)
