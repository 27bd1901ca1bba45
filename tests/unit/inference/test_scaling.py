"""Replicas are added while requests wait, and taken away only when what is known allows it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from services.inference.scaling import LOAD, SLOTS, by_queue, replicas_for


@pytest.mark.parametrize(
    ("loads", "slots", "wanted"),
    [
        ({"a": 1.0}, {"a": 1.0}, 1),
        ({"a": 3.0}, {"a": 1.0}, 3),
        ({"a": 3.0}, {"a": 4.0}, 1),
        ({"a": 4.0, "b": 4.1}, {"a": 4.0, "b": 4.0}, 3),
        ({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0}, 0),
    ],
)
def test_there_are_so_many_that_none_waits(loads: dict[str, float], slots: dict[str, float], wanted: int) -> None:
    assert replicas_for(loads, slots, current=len(loads)) == wanted


def test_one_that_tells_nothing_is_not_taken_for_idle() -> None:
    assert replicas_for({"a": 0.0}, {"a": 1.0}, current=3) == 3
    assert replicas_for({}, {}, current=2) == 2


def test_serve_s_own_count_of_requests_plays_no_part() -> None:
    told = {LOAD: {"a": 2.0, "b": 2.0}, SLOTS: {"a": 1.0, "b": 1.0}, "running_requests": {"a": 0.0, "b": 0.0}}
    context = SimpleNamespace(aggregated_metrics=told, target_num_replicas=2, total_num_requests=0.0)
    assert by_queue(context) == (4, {})
    assert by_queue(SimpleNamespace(aggregated_metrics=None, target_num_replicas=2)) == (2, {})
