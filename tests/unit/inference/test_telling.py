"""What a node says of itself, and when."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from libs.shared.contracts.telemetry import Cpu, Memory, NodeTelemetry, Rates, ReplicaTelemetry, ServedModel
from libs.shared.contracts.telemetry import Replica as ReplicaState
from libs.shared.hardware import Sample
from services.inference.telemetry.node import SILENT_S, Facts, Replicas, describe
from services.inference.telemetry.pulse import AT_ONCE_MOST, AT_ONCE_S, EVERY_S, SOON_S, Pulse

SAMPLE = Sample(
    cpu=Cpu(cores=4, utilisation=0.5, load_1m=1.0),
    memory=Memory(total_mib=8000, available_mib=4000),
    temperature_c=50.0,
    throttled=False,
    power_w=4.0,
    power_measured=False,
    gpus=(),
    free_disk_mib=1000,
    throttled_since_boot=("under-voltage",),
)


def told(
    replica: str = "node-a-1",
    *,
    sequence: int = 1,
    boot: str = "b1",
    queued: int = 0,
    stopped: bool = False,
    **more: object,
) -> ReplicaTelemetry:
    model = ServedModel.model_validate({"name": "m", "backend": "x", "context_tokens": 10, **more})
    return ReplicaTelemetry(
        node_id="node-a",
        sequence=sequence,
        boot_id=boot,
        state=ReplicaState(replica=replica, models=("m",), in_flight=2, in_flight_tokens=30, queued=queued),
        models=(model,),
        stopped=stopped,
    )


def node(*replicas: ReplicaTelemetry, draining: bool = False) -> NodeTelemetry:
    return describe(
        Facts("node-a", "boot", "1.0", "Pi 5", power_budget_w=7.5),
        sequence=7,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        runtime="inline",
        sample=SAMPLE,
        replicas=replicas,
        draining=draining,
        degraded=("x",),
    )


def test_a_node_tells_the_sums_of_its_replicas() -> None:
    message = node(told(queued=1), told("node-a-2", queued=3))
    assert (message.in_flight, message.queued, message.in_flight_tokens) == (4, 4, 60)
    assert [model.name for model in message.models] == ["m"]
    assert (message.power_w, message.power_measured, message.temperature_c) == (4.0, False, 50.0)
    assert message.power_budget_w == 7.5
    assert (message.power_source, message.throttled, message.throttled_since_boot) == (
        "estimate",
        False,
        ("under-voltage",),
    )


def test_a_model_is_told_by_the_replica_that_measured_it() -> None:
    measured = told("node-a-2", rates=Rates(generated_tokens_per_s=9.0))
    assert node(told(), measured).models[0].rates.generated_tokens_per_s == 9.0


def test_what_requests_showed_one_replica_is_told_before_what_another_began_from() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    fresh = [
        told(rates=Rates(generated_tokens_per_s=90.0, source=source, measured_at=at))
        for source in ("trial", "remembered")
    ]
    asked = told("node-a-2", rates=Rates(generated_tokens_per_s=9.0, source="requests"))
    for before in fresh:
        assert node(before, asked).models[0].rates.source == "requests"
        assert node(asked, before).models[0].rates.source == "requests"
        assert node(told("node-a-0"), before).models[0].rates == before.models[0].rates
    assert node(*fresh).models[0].rates.source == "trial", "the first of equals"


def test_every_replica_of_a_draining_node_drains() -> None:
    assert all(state.draining for state in node(told(), draining=True).replicas)
    assert not any(state.draining for state in node(told()).replicas)


def check_that_silence_is_noticed(kind: type[Replicas]) -> None:
    replicas = kind("node-a")
    replicas.hear(told(), 100.0)
    assert len(replicas.living(100.0 + SILENT_S)) == 1
    assert replicas.living(100.1 + SILENT_S) == []


def test_a_silent_replica_is_dropped() -> None:
    check_that_silence_is_noticed(Replicas)


def test_the_check_of_silence_notices_one_that_keeps_the_dead() -> None:
    class Faithful(Replicas):
        def living(self, now_s: float) -> list[ReplicaTelemetry]:
            return super().living(min(now_s, 100.0))

    with pytest.raises(AssertionError):
        check_that_silence_is_noticed(Faithful)


def test_a_replica_that_stops_is_dropped_at_once() -> None:
    replicas = Replicas("node-a")
    assert replicas.hear(told(), 0.0)
    assert replicas.hear(told(sequence=2, stopped=True), 0.0)
    assert replicas.living(0.0) == []


def test_a_late_goodbye_of_an_earlier_life_drops_nobody() -> None:
    replicas = Replicas("node-a")
    replicas.hear(told(boot="b2"), 0.0)
    assert not replicas.hear(told(boot="b1", sequence=99, stopped=True), 0.0)
    assert len(replicas.living(0.0)) == 1


def test_older_words_of_the_same_life_are_ignored() -> None:
    replicas = Replicas("node-a")
    replicas.hear(told(sequence=5, queued=5), 0.0)
    assert not replicas.hear(told(sequence=4, queued=1), 0.0)
    assert replicas.living(0.0)[0].state.queued == 5


def test_another_node_s_replicas_are_none_of_ours() -> None:
    replicas = Replicas("node-b")
    assert not replicas.hear(told(), 0.0)
    assert replicas.living(0.0) == []


def test_only_a_changed_queue_is_urgent() -> None:
    replicas = Replicas("node-a")
    assert replicas.hear(told(sequence=1), 0.0)
    assert not replicas.hear(told(sequence=2), 0.0)
    assert replicas.hear(told(sequence=3, queued=1), 0.0)


async def time_to_wait(pulse: Pulse) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(5):
        await pulse.wait()
    return loop.time() - begun


async def test_a_quiet_node_speaks_each_second() -> None:
    pulse = Pulse()
    await pulse.wait()
    assert await time_to_wait(pulse) == pytest.approx(EVERY_S, abs=0.2)


@pytest.mark.parametrize(("urgent", "wait_s"), [(True, AT_ONCE_S), (False, SOON_S)])
async def test_a_change_brings_the_next_word_forward(urgent: bool, wait_s: float) -> None:
    pulse = Pulse()
    await pulse.wait()
    asyncio.get_running_loop().call_soon(pulse.nudge, urgent)
    waited = await time_to_wait(pulse)
    assert 0.5 * wait_s <= waited < wait_s + 0.2


async def check_a_storm(seconds: float = 1.0) -> None:
    pulse, words = Pulse(), 0
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    await pulse.wait()
    while loop.time() < until:
        loop.call_soon(pulse.nudge, True)
        await time_to_wait(pulse)
        words += 1
    assert words <= AT_ONCE_MOST + seconds / SOON_S + 1, words


async def test_an_overloaded_node_tells_its_first_changes_at_once_and_the_next_soon() -> None:
    await check_a_storm()


async def test_of_the_test__a_node_that_tells_every_change_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pulse, "_may_go_at_once", lambda _: True)
    with pytest.raises(AssertionError):
        await check_a_storm()


async def test_a_thousand_changes_are_a_handful_of_words() -> None:
    pulse = Pulse()
    words = 0

    async def speak() -> None:
        nonlocal words
        while True:
            await pulse.wait()
            words += 1

    speaking = asyncio.create_task(speak())
    for _ in range(1000):
        pulse.nudge(True)
        await asyncio.sleep(0)
    speaking.cancel()
    assert 1 <= words <= 20
