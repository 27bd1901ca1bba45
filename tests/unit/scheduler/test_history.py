"""What is kept of each node's past, and that it stays bounded."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.shared.contracts.scheduling import NodeHistory
from libs.shared.contracts.telemetry import Cpu, NodeTelemetry, Replica
from services.scheduler import history
from services.scheduler.history import EVERY_S, MOMENTS, History
from tests.unit.scheduler.clusters import node

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def told(
    node_id: str = "a", *, generated: int = 0, boot_id: str = "b", cpu: float = 0.0, **about: Any
) -> NodeTelemetry:
    replica = Replica(replica=f"{node_id}-0", models=("llama",), generated_tokens=generated)
    processors = Cpu(cores=4, utilisation=cpu, load_1m=0)
    return node(node_id, boot_id=boot_id, replicas=(replica,), cpu=processors, **about)


def read(past: History, node_id: str = "a", now_s: float = 0.0) -> NodeHistory:
    return past.read(node_id, now_s=now_s, now=NOON)


def test_a_moment_is_told_while_it_is_going_on() -> None:
    past = History()
    past.note(told(in_flight=2, queued=1, temperature_c=50.0, throttled=False, power_w=4.0, cpu=0.25), 103.0)
    kept = read(past, now_s=103.0)
    assert kept.at == (NOON - timedelta(seconds=3),)
    assert (kept.load, kept.queued, kept.utilisation) == ((2.0,), (1,), (0.25,))
    assert (kept.temperature_c, kept.throttled, kept.power_w) == ((50.0,), (False,), (4.0,))
    assert kept.generated_tokens_per_s == (None,), "no time has passed in which anything could be generated"


def test_means_are_over_time_however_often_the_node_spoke() -> None:
    past = History()
    past.note(told(in_flight=0), 100.0)
    for spoke in range(10):  # a burst within a tenth of a second
        past.note(told(in_flight=9), 102.0 + spoke / 100)
    past.note(told(in_flight=0), 102.1)
    for second in range(103, 111):
        past.note(told(in_flight=0), float(second))
    assert read(past).load[0] == pytest.approx(9 * 0.1 / 10, abs=0.01)


def test_queue_heat_and_throttling_count_by_their_highest() -> None:
    past = History()
    past.note(told(queued=0, temperature_c=60.0, throttled=False), 100.0)
    past.note(told(queued=7, temperature_c=84.5, throttled=True), 101.0)
    past.note(told(queued=0, temperature_c=70.0, throttled=False), 102.0)
    kept = read(past)
    assert (kept.queued, kept.temperature_c, kept.throttled) == ((7,), (84.5,), (True,))


def test_what_a_node_can_not_tell_is_none() -> None:
    past = History()
    past.note(told(temperature_c=None, throttled=None, power_w=None), 100.0)
    kept = read(past)
    assert (kept.temperature_c, kept.throttled, kept.power_w) == ((None,), (None,), (None,))


def test_generated_tokens_are_those_of_the_moment_even_over_a_restart() -> None:
    past = History()
    past.note(told(generated=1000), 100.0)
    for second, count in enumerate((1010, 1020, 1020), 101):
        past.note(told(generated=count), float(second))
    past.note(told(generated=16, boot_id="b2"), 104.0)
    (rate,) = read(past).generated_tokens_per_s
    assert rate == pytest.approx((20 + 16) / 4, abs=0.01)


def check_that_silence_leaves_a_gap(past: History) -> None:
    past.note(told(in_flight=4), 100.0)
    past.note(told(in_flight=4), 160.0)
    kept = read(past, now_s=160.0)
    assert [(NOON - at).total_seconds() for at in kept.at] == [60.0, 0.0]
    assert kept.load == (4.0, 4.0)


def test_a_silent_node_has_no_moments() -> None:
    check_that_silence_leaves_a_gap(History())


def test_the_columns_have_one_length() -> None:
    past = History()
    for second in range(95):
        past.note(told(), 100.0 + second)
    columns = read(past).model_dump(exclude={"every_s"})
    assert {len(column) for column in columns.values()} == {10}


def test_an_hour_is_kept_and_no_more() -> None:
    past = History()
    for step in range(MOMENTS + 50):
        past.note(told(in_flight=step), step * EVERY_S)
    kept = read(past, now_s=(MOMENTS + 49) * EVERY_S)
    assert len(kept.at) == MOMENTS
    assert NOON - kept.at[0] == timedelta(seconds=(MOMENTS - 1) * EVERY_S)
    assert kept.load[-1] == MOMENTS + 49


def test_the_newest_moments_are_told_where_not_all_are_wanted() -> None:
    past = History()
    for step in range(10):
        past.note(told(in_flight=step), step * EVERY_S)
    assert past.read("a", now_s=0, now=NOON, most=3).load == (7.0, 8.0, 9.0)
    assert past.read("a", now_s=0, now=NOON, most=1).load == (9.0,)


def check_the_bound_over_all_nodes(monkeypatch: pytest.MonkeyPatch, nodes: int, most: int) -> None:
    monkeypatch.setattr(history, "MOST_MOMENTS", most)
    past = History()
    for step in range(60):
        for name in range(nodes):
            past.note(told(f"n{name}"), step * EVERY_S)
    assert sum(len(read(past, f"n{name}").at) for name in range(nodes)) <= most


def test_many_nodes_share_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    check_the_bound_over_all_nodes(monkeypatch, nodes=20, most=400)


def test_of_the_test__a_bound_for_each_node_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(History, "moments_each", property(lambda _: MOMENTS))
    with pytest.raises(AssertionError):
        check_the_bound_over_all_nodes(monkeypatch, nodes=20, most=400)


def test_the_whole_past_takes_little_memory() -> None:
    past = History()
    for step in range(MOMENTS):
        past.note(told(), step * EVERY_S)
    (track,) = past._tracks.values()
    assert sys.getsizeof(track.rows) < 32_000


def test_a_forgotten_node_has_no_past() -> None:
    past = History()
    past.note(told(), 100.0)
    past.forget("a")
    past.forget("never known")
    assert read(past) == NodeHistory(every_s=EVERY_S)
