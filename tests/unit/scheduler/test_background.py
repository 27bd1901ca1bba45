"""Work for which nobody waits: which nodes have room, heat and power for it, and for how long each reason holds."""

from __future__ import annotations

from typing import Any

import pytest

from libs.shared.contracts.scheduling import PlaceRequest
from libs.shared.contracts.telemetry import NodeTelemetry, Replica
from services.scheduler import background
from services.scheduler.background import MACHINE_S, QUIET_S, REQUESTS_S, Room, find_room, machine_room
from services.scheduler.placement import choose
from services.scheduler.registry import Registry
from tests.unit.scheduler.clusters import Clock, model, node, registry

MINILM = model("minilm", kind="embed")


def board(node_id: str, *, chats: int = 0, jobs: int = 0, sequence: int = 1, **fields: Any) -> NodeTelemetry:
    """A node with a language model and an embedder, each in a replica of its own."""
    replicas = (
        Replica(replica=f"{node_id}-0", models=("minilm",), in_flight=jobs, background=jobs),
        Replica(replica=f"{node_id}-1", models=("llama",), in_flight=chats),
    )
    return node(node_id, replicas=replicas, models=(MINILM, model()), sequence=sequence, **fields)


def room(known: Registry, clock: Clock, *, waited_s: float = 0.0) -> Room:
    snapshot = known.snapshot()
    decision = choose(PlaceRequest(kind="embed"), snapshot, clock(), draw=0.0)
    return find_room(decision, snapshot, clock(), waited_s=waited_s)


def taken(found: Room) -> str | None:
    return found.choice.replica.replica if found.choice is not None else None


def chat(known: Registry, clock: Clock) -> str:
    """Places a chat; on which node."""
    decision = choose(PlaceRequest(), known.snapshot(), clock(), draw=0.0)
    assert decision.choice is not None
    known.dispatched(decision.choice, PlaceRequest())
    return decision.choice.node.node_id


def test_an_idle_node_has_room() -> None:
    clock = Clock()
    assert taken(room(registry(board("a"), clock=clock), clock)) == "a-0"


HELD = [
    ({"throttled": True}, "throttled", MACHINE_S),
    ({"temperature_c": 85.0}, "hot", MACHINE_S),
    ({"power_w": 9.0, "power_source": "battery"}, "on_battery", MACHINE_S),
    ({"power_w": 9.0, "power_budget_w": 8.0}, "over_power_budget", MACHINE_S),
    ({"chats": 1}, "busy", REQUESTS_S),
]


@pytest.mark.parametrize(("state", "reason", "holds_s"), HELD, ids=[reason for _, reason, _ in HELD])
def test_each_reason_holds_a_job_back_for_a_bounded_time(state: dict[str, Any], reason: str, holds_s: float) -> None:
    clock = Clock()
    known = registry(board("a", **state), clock=clock)
    early = room(known, clock, waited_s=holds_s - 1)
    assert (taken(early), dict(early.rejected), early.reasons) == (None, {"a": reason}, {reason: 1})
    assert early.retry_after_s > 0
    assert taken(room(known, clock, waited_s=holds_s)) == "a-0"


@pytest.mark.parametrize(("state", "reason", "holds_s"), HELD, ids=[reason for _, reason, _ in HELD])
def test_a_job_that_is_never_held_back_would_be_noticed(
    state: dict[str, Any], reason: str, holds_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "holds_back", lambda *_: None)
    with pytest.raises(AssertionError):
        test_each_reason_holds_a_job_back_for_a_bounded_time(state, reason, holds_s)


def test_power_within_its_budget_and_from_the_mains_is_no_reason() -> None:
    clock = Clock()
    plugged = board("a", power_w=7.9, power_budget_w=8.0, power_source="board", temperature_c=60.0, throttled=False)
    assert taken(room(registry(plugged, clock=clock), clock)) == "a-0"


def test_other_jobs_do_not_make_a_node_busy_but_one_without_any_is_taken_first() -> None:
    clock = Clock()
    assert taken(room(registry(board("a", jobs=2), clock=clock), clock)) == "a-0"
    assert taken(room(registry(board("a", jobs=2), board("b"), clock=clock), clock)) == "b-0"


def test_a_node_that_was_just_given_a_request_has_no_room_until_it_was_quiet() -> None:
    clock = Clock()
    known = registry(board("a"), clock=clock)
    chat(known, clock)
    found = room(known, clock)
    assert (taken(found), dict(found.rejected)) == (None, {"a": "recent_request"})
    assert found.retry_after_s == pytest.approx(QUIET_S)
    clock.now += QUIET_S
    assert taken(room(known, clock)) is None, "no telemetry has come since that could show the request"
    known.hear(board("a", sequence=2))
    assert taken(room(known, clock)) == "a-0"


def test_the_node_that_got_no_request_for_the_longest_is_taken() -> None:
    clock = Clock()
    known = registry(board("a"), board("b"), clock=clock)
    chosen = chat(known, clock)
    other = "b" if chosen == "a" else "a"
    found = room(known, clock)
    assert (taken(found), dict(found.rejected)) == (f"{other}-0", {chosen: "recent_request"})
    clock.now += 2 * QUIET_S
    known.hear(board("a", sequence=2))
    known.hear(board("b", sequence=2))
    found = room(known, clock)
    assert (taken(found), dict(found.rejected)) == (f"{other}-0", {chosen: "passed_over"})


def test_a_node_without_a_reason_goes_before_one_whose_reason_holds_no_longer() -> None:
    clock = Clock()
    known = registry(board("a", chats=1), board("b"), clock=clock)
    assert taken(room(known, clock, waited_s=MACHINE_S)) == "b-0"


def test_when_to_ask_again_depends_on_what_is_waited_for() -> None:
    clock = Clock()
    hot = board("a", temperature_c=86.0)
    assert room(registry(hot, clock=clock), clock).retry_after_s == background.COOL_S
    assert room(registry(hot, board("b", chats=1), clock=clock), clock).retry_after_s == QUIET_S


@pytest.mark.parametrize(("fields", "reason", "holds_s"), HELD)
def test_a_machine_has_no_room_for_a_run_while_its_node_is_held_back(
    fields: dict[str, Any], reason: str, holds_s: float
) -> None:
    clock = Clock()
    known = registry(board("a", **fields), board("b"), clock=clock)
    found = machine_room("a", known.snapshot(), clock(), waited_s=0.0)
    assert found.reason == reason
    assert found.retry_after_s > 0
    assert machine_room("b", known.snapshot(), clock(), waited_s=0.0).reason is None
    assert machine_room("a", known.snapshot(), clock(), waited_s=holds_s).reason is None


@pytest.mark.parametrize("node_id", [None, "nobody"])
def test_a_machine_that_serves_no_requests_has_room(node_id: str | None) -> None:
    clock = Clock()
    known = registry(board("a", chats=1), clock=clock)
    assert machine_room(node_id, known.snapshot(), clock(), waited_s=0.0).reason is None


def test_a_machine_that_was_just_given_a_request_has_room_a_moment_later() -> None:
    clock = Clock()
    known = registry(board("a"), clock=clock)
    node_id = chat(known, clock)
    found = machine_room(node_id, known.snapshot(), clock(), waited_s=0.0)
    assert found.reason == "recent_request"
    assert 0 < found.retry_after_s <= QUIET_S
