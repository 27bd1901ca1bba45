"""Several processes of one service: copied from the first, retired from the last on, and nothing else touched."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import events
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.xmlrpc import RPCError

from cli.supervision.workers import MOST, RETIRE, RETIRE_WAIT_S, Workers

USUAL_WAIT_S = 40


@dataclass
class Child:
    """As much of supervisord's process as is touched."""

    config: Any
    state: int = ProcessStates.STOPPED
    pid: int = 0
    delay: float = 0.0
    sent: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    def get_state(self) -> int:
        return self.state

    def spawn(self) -> None:
        self.state, self.pid = ProcessStates.RUNNING, 100

    def kill(self, number: int) -> None:
        self.sent.append(number)
        self.waits.append(self.config.stopwaitsecs)
        self.state = ProcessStates.STOPPING

    def end(self) -> None:
        self.state, self.pid = ProcessStates.STOPPED, 0


class Supervisord:
    """As much of it."""

    def __init__(self, *names: str) -> None:
        self.options = SimpleNamespace(mood=SupervisorStates.RUNNING, kill=self.kill)
        self.process_groups: dict[str, Any] = {}
        self.killed: list[tuple[int, int]] = []
        for name in names:
            config = SimpleNamespace(
                name=name,
                options=self.options,
                stdout_logfile=f"/logs/{name}.log",
                environment={"MONGARS_SUPERVISED": "id"},
                stopwaitsecs=USUAL_WAIT_S,
            )
            self.add_process_group(
                SimpleNamespace(name=name, priority=5, process_configs=[config], options=self.options)
            )
            self.child(name).spawn()

    def add_process_group(self, config: Any) -> None:
        child = Child(config.process_configs[0])
        self.process_groups[config.name] = SimpleNamespace(config=config, processes={config.name: child})

    def remove_process_group(self, name: str) -> None:
        del self.process_groups[name]

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))

    def child(self, name: str) -> Child:
        found: Child = self.process_groups[name].processes[name]
        return found


@pytest.fixture
def supervisord() -> Iterator[Supervisord]:
    events.clear()
    yield Supervisord("persistence", "cognition", "api")
    events.clear()


@pytest.fixture
def workers(supervisord: Supervisord) -> Workers:
    return Workers(supervisord)


def tick() -> None:
    events.notify(events.Tick5Event(0, None))


def test_another_is_as_the_first_with_a_name_a_number_and_a_log_of_its_own(
    supervisord: Supervisord, workers: Workers
) -> None:
    workers.scale("cognition", 3)
    assert list(supervisord.process_groups) == ["persistence", "cognition", "api", "cognition-2", "cognition-3"]
    config = supervisord.child("cognition-3").config
    assert config.environment == {"MONGARS_SUPERVISED": "id", "MONGARS_WORKER": "3"}
    assert config.stdout_logfile == "/logs/cognition-3.log"
    assert supervisord.child("cognition").config.environment == {"MONGARS_SUPERVISED": "id"}
    assert workers.counts() == {"cognition": {"running": 3, "wanted": 3}}


def test_the_last_goes_with_time_for_what_it_has_begun_and_is_forgotten_once_it_has_gone(
    supervisord: Supervisord, workers: Workers
) -> None:
    workers.scale("cognition", 2)
    workers.scale("cognition", 1)
    going = supervisord.child("cognition-2")
    assert (going.sent, going.waits, going.config.stopwaitsecs) == ([RETIRE], [RETIRE_WAIT_S], USUAL_WAIT_S)
    assert workers.counts() == {"cognition": {"running": 1, "wanted": 1}}
    tick()
    assert "cognition-2" in supervisord.process_groups, "it works still"
    going.end()
    tick()
    assert "cognition-2" not in supervisord.process_groups


def test_while_one_goes_another_number_takes_its_place(supervisord: Supervisord, workers: Workers) -> None:
    workers.scale("cognition", 2)
    workers.scale("cognition", 1)
    workers.scale("cognition", 2)
    assert supervisord.child("cognition-3").state == ProcessStates.RUNNING
    assert supervisord.child("cognition-2").sent == [RETIRE], "told once"


def test_none_leaves_the_first_stopped_and_it_comes_back(supervisord: Supervisord, workers: Workers) -> None:
    workers.scale("cognition", 0)
    supervisord.child("cognition").end()
    tick()
    assert workers.counts() == {"cognition": {"running": 0, "wanted": 0}}
    workers.scale("cognition", 1)
    assert workers.counts() == {"cognition": {"running": 1, "wanted": 1}}


@pytest.mark.parametrize(
    ("name", "count"),
    [("persistence", 2), ("api", 0), ("nothing", 1), ("cognition-2", 1), ("cognition", MOST + 1), ("cognition", -1)],
)
def test_no_other_program_is_started_or_stopped(
    supervisord: Supervisord, workers: Workers, name: str, count: int
) -> None:
    with pytest.raises(RPCError):
        workers.scale(name, count)
    assert list(supervisord.process_groups) == ["persistence", "cognition", "api"]
    assert not any(supervisord.child(one).sent for one in supervisord.process_groups)


def test_without_its_list_another_program_would_be(
    supervisord: Supervisord, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.supervision.workers.SEVERAL", frozenset({"persistence"}))
    workers.scale("persistence", 0)
    assert supervisord.child("persistence").sent == [RETIRE]


def hurried(supervisord: Supervisord, workers: Workers) -> bool:
    """Whether one that takes its time is told that everything stops."""
    workers.scale("cognition", 2)
    workers.scale("cognition", 1)
    going = supervisord.child("cognition-2")
    going.delay = time.time() + RETIRE_WAIT_S
    events.notify(events.SupervisorStoppingEvent())
    return supervisord.killed == [(100, signal.SIGTERM)] and going.delay <= time.time() + USUAL_WAIT_S


def test_one_that_takes_its_time_hurries_when_everything_stops(supervisord: Supervisord, workers: Workers) -> None:
    assert hurried(supervisord, workers)
    supervisord.options.mood = SupervisorStates.SHUTDOWN
    with pytest.raises(RPCError):
        workers.scale("cognition", 2)


def test_without_being_told_it_would_not(supervisord: Supervisord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workers, "_hurry", lambda self, stopping: None)
    assert not hurried(supervisord, Workers(supervisord))
