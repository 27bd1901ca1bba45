"""Counting restarts, and bounding supervisord's back-off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import events
from supervisor.states import ProcessStates

from cli.supervision.plugin import MOST_BACKOFF_S, Interface, make


@dataclass
class Child:
    """As much of supervisord's process as the plug-in touches."""

    state: int = ProcessStates.STOPPED
    pid: int = 0
    backoff: int = 0
    delay: float = 0.0
    spawnerr: str | None = None
    config: Any = field(default_factory=lambda: SimpleNamespace(name="api", priority=1))

    def get_state(self) -> int:
        return self.state


@pytest.fixture
def child() -> Child:
    return Child()


@pytest.fixture
def plugin(child: Child) -> Iterator[Interface]:
    events.clear()
    options = SimpleNamespace(get_socket_map=dict)
    yield make(SimpleNamespace(process_groups={"api": SimpleNamespace(processes={"api": child})}, options=options))
    events.clear()


def started(child: Child, from_state: int) -> None:
    events.notify(events.ProcessStateStartingEvent(child, from_state))


def restarts(plugin: Interface) -> int:
    (row,) = plugin.report()
    return int(row["restarts"])


def test_a_first_start_is_no_restart(plugin: Interface, child: Child) -> None:
    started(child, ProcessStates.STOPPED)
    assert restarts(plugin) == 0


@pytest.mark.parametrize("ended", [ProcessStates.EXITED, ProcessStates.BACKOFF])
def test_a_start_after_the_process_ended_by_itself_counts(plugin: Interface, child: Child, ended: int) -> None:
    started(child, ProcessStates.STOPPED)
    started(child, ended)
    started(child, ended)
    assert restarts(plugin) == 2


def test_the_wait_before_another_start_is_bounded(plugin: Interface, child: Child) -> None:
    child.backoff = 500
    child.delay = time.time() + 500
    events.notify(events.ProcessStateBackoffEvent(child, ProcessStates.STARTING))
    assert child.backoff == MOST_BACKOFF_S
    assert child.delay <= time.time() + MOST_BACKOFF_S


def test_a_short_wait_is_left_as_it_is(plugin: Interface, child: Child) -> None:
    child.backoff = 2
    events.notify(events.ProcessStateBackoffEvent(child, ProcessStates.STARTING))
    assert child.backoff == 2


def test_the_report_says_state_pid_and_problem(plugin: Interface, child: Child) -> None:
    child.state, child.pid, child.spawnerr = ProcessStates.RUNNING, 7, "was bad"
    assert plugin.report() == [{"name": "api", "state": "running", "pid": 7, "restarts": 0, "problem": "was bad"}]
