"""How busy workers are, and what there is room for, by what they and the nodes tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.shared.contracts.scaling import WorkerTold
from libs.shared.contracts.telemetry import Cpu, Memory, NodeTelemetry, Replica
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.scaling.hearing import REFUSED_S, SILENT_S, Heard

AT = datetime(2026, 5, 1, tzinfo=UTC)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard(clock: Clock) -> Heard:
    return Heard("here", 75.0, clock)


def told(worker: str, busy: float, **about: Any) -> WorkerTold:
    fields: dict[str, Any] = {"worker": worker, "at": AT, "interval_s": 2.0, "busy": busy, "late_s": 0.0}
    return WorkerTold(**fields | {"memory_mib": 100.0} | about)


def node(node_id: str = "here", replicas: tuple[Replica, ...] = (), **about: Any) -> NodeTelemetry:
    fields: dict[str, Any] = {
        "node_id": node_id,
        "sequence": 1,
        "boot_id": "b",
        "at": AT,
        "version": "0",
        "board": "x",
        "runtime": "inline",
        "cpu": Cpu(cores=4, utilisation=0.5, load_1m=1),
        "memory": Memory(total_mib=1000, available_mib=500),
        "temperature_c": 50.0,
        "throttled": False,
        "power_w": None,
        "in_flight": 0,
        "queued": 0,
        "in_flight_tokens": 0,
        "queued_tokens": 0,
        "replicas": replicas,
        "models": (),
        "draining": False,
        "free_disk_mib": 1000.0,
    }
    return NodeTelemetry(**fields | about)


async def test_the_mean_of_those_that_take_work_counts(heard: Heard) -> None:
    for one in (told("a", 0.9), told("b", 0.5), told("c", 0.0, leaving=True)):
        await heard.worker("cognition", one)
    load = heard.load("cognition")
    assert load is not None
    assert load.busy == pytest.approx(0.7)
    assert not load.waits


async def test_a_worker_that_says_nothing_any_more_is_forgotten(heard: Heard, clock: Clock) -> None:
    await heard.worker("cognition", told("a", 0.9))
    clock.now += SILENT_S + 1
    assert heard.load("cognition") is None


async def test_an_event_loop_that_comes_late_lets_requests_wait(heard: Heard) -> None:
    await heard.worker("cognition", told("a", 0.2, late_s=0.4))
    load = heard.load("cognition")
    assert load is not None
    assert load.waits


async def test_turns_that_nobody_took_are_heard_of_though_no_worker_tells_anything(heard: Heard, clock: Clock) -> None:
    await heard.unanswered(TurnMeasured(began=AT, failed=True))
    load = heard.load("cognition")
    assert load is not None
    assert load.waits
    clock.now += REFUSED_S + 1
    assert heard.load("cognition") is None


async def test_of_inference_the_queues_count_and_not_what_nobody_waits_for(heard: Heard) -> None:
    replicas = (
        Replica(replica="here-0", models=("m",), in_flight=2, queued=1, slots=2),
        Replica(replica="here-1", models=("m",), in_flight=1, queued=3, background=4, slots=2),
        Replica(replica="here-2", models=("m",), in_flight=2, slots=2, draining=True),
    )
    await heard.node(node(replicas=replicas))
    load = heard.load("inference-gpu")
    assert load is not None
    assert load.busy == pytest.approx(3 / 4)
    assert load.waits
    assert heard.load("something") is None


async def test_there_is_room_for_what_the_free_memory_carries_less_a_reserve(heard: Heard) -> None:
    await heard.worker("cognition", told("a", 0.9, memory_mib=150.0))
    await heard.node(node())
    assert heard.room("cognition").workers == 2


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"temperature_c": 76.0}, "hot"),
        ({"throttled": True}, "held back"),
        ({"cpu": Cpu(cores=4, utilisation=0.97, load_1m=9)}, "processors"),
        ({"memory": Memory(total_mib=1000, available_mib=150)}, "memory"),
    ],
)
async def test_a_machine_that_can_carry_no_more_says_why(heard: Heard, about: dict[str, Any], said: str) -> None:
    await heard.node(node(**about))
    room = heard.room("cognition")
    assert room.workers == 0
    assert said in room.said


async def test_another_machine_says_nothing_of_this_one(heard: Heard) -> None:
    await heard.node(node("elsewhere", temperature_c=99.0))
    assert "hot" not in heard.room("cognition").said
