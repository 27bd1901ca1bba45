"""A broker whose disk was full is started again once there is room, and only then."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import events
from supervisor.states import ProcessStates

from cli.supervision.full_disk import ENOUGH_BYTES, FullDiskWatch

COMPLAINT = "[ERR] JetStream failed to store a msg on stream '$G > TURNS': write 1.blk: no space left on device\n"


class Broker:
    """A supervised process with a log, its disk, and the signals that it was sent."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "broker.log"
        self.log.write_text("Server is ready\n")
        self.pid = 7
        self.state: int = ProcessStates.RUNNING
        self.free_bytes = 0
        self.signals: list[tuple[int, int]] = []
        self.config = SimpleNamespace(stdout_logfile=str(self.log))
        monkeypatch.setattr(os, "kill", lambda pid, number: self.signals.append((pid, number)))
        group = SimpleNamespace(processes={"broker": self})
        options = SimpleNamespace(logger=SimpleNamespace(warn=lambda message: None))
        supervisord: Any = SimpleNamespace(process_groups={"broker": group}, options=options)
        FullDiskWatch(supervisord, "broker", free_bytes=lambda path: self.free_bytes)
        self.tick()

    def get_state(self) -> int:
        return self.state

    def complain(self) -> None:
        with self.log.open("a") as file:
            file.write(COMPLAINT)

    def tick(self) -> None:
        events.notify(events.Tick5Event(0, None))


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    events.clear()
    yield Broker(tmp_path, monkeypatch)
    events.clear()


def test_it_is_ended_once_when_there_is_room_again(broker: Broker) -> None:
    broker.complain()
    broker.tick()
    assert broker.signals == [], "while the disk is full it would fail again"
    broker.free_bytes = ENOUGH_BYTES
    broker.tick()
    broker.tick()
    assert broker.signals == [(7, signal.SIGTERM)]


def test_without_a_complaint_it_is_left_alone(broker: Broker) -> None:
    broker.free_bytes = ENOUGH_BYTES
    broker.tick()
    assert broker.signals == []


def test_what_an_earlier_broker_complained_of_is_over(broker: Broker) -> None:
    broker.complain()
    broker.tick()
    broker.pid, broker.free_bytes = 8, ENOUGH_BYTES
    broker.tick()
    broker.tick()
    assert broker.signals == []


def test_a_log_that_was_begun_anew_is_read_from_its_start(broker: Broker) -> None:
    broker.log.write_text("x" * 1000)
    broker.tick()
    broker.log.write_text(COMPLAINT)
    broker.free_bytes = ENOUGH_BYTES
    broker.tick()
    assert broker.signals == [(7, signal.SIGTERM)]


def test_one_that_is_being_stopped_or_has_no_log_is_left_alone(broker: Broker) -> None:
    broker.complain()
    broker.state, broker.free_bytes = ProcessStates.STOPPING, ENOUGH_BYTES
    broker.tick()
    broker.log.unlink()
    broker.tick()
    assert broker.signals == []
