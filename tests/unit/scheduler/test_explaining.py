"""Explaining a placement: every node with its reason, what it would be refused with, and nothing placed by asking."""

from __future__ import annotations

from libs.shared.contracts.scheduling import Explanation, PlaceRequest
from libs.shared.contracts.telemetry import Rates
from services.scheduler.background import COOL_S, MACHINE_S, find_room
from services.scheduler.explaining import explain, explain_room
from services.scheduler.placement import choose
from services.scheduler.registry import Registry
from tests.unit.scheduler.clusters import model, node, registry

NOW = 1000.0
RATES = Rates(prompt_tokens_per_s=100.0, generated_tokens_per_s=10.0, answer_tokens=50.0)
ASKED = PlaceRequest(model="llama", prompt_tokens=200, max_tokens=100)


def explained(known: Registry, asked: PlaceRequest = ASKED) -> Explanation:
    decision = choose(asked, known.snapshot(), NOW, draw=0.5)
    return explain(asked, decision, known.snapshot())


def test_every_node_has_its_reason_and_what_could_be_taken_its_times() -> None:
    quick = model(rates=RATES)
    known = registry(
        node("a", models=[quick]),
        node("b", models=[quick], draining=True),
        node("c", models=[quick], in_flight=1),
        node("d", models=[model("phi")]),
        node("e", replicas=()),
    )
    told = explained(known)
    assert (told.model, told.policy, told.node_id, told.refused) == ("llama", "expected_completion", "a", None)
    reasons = {c.node_id: (c.replica, c.reason) for c in told.considered}
    assert reasons == {
        "a": ("a-0", "taken"),
        "b": ("b-0", "draining"),
        "c": ("c-0", "later_completion"),
        "d": (None, "not_serving"),
        "e": (None, "not_serving"),
    }
    times = {c.node_id: (c.expected_first_s, c.expected_s) for c in told.considered}
    assert times["a"] == (2.0, 7.0)
    assert times["b"] == (None, None)
    assert times["c"] > times["a"]


def test_what_would_be_refused_says_with_what_and_still_why() -> None:
    told = explained(registry(node("a", draining=True), node("b")), ASKED.model_copy(update={"exclude": ("b-0",)}))
    assert told.node_id is None
    assert told.refused is not None
    assert (told.refused.code, told.refused.retry_after_s) == ("no_node", 1.0)
    assert {c.node_id: c.reason for c in told.considered} == {"a": "draining", "b": "excluded"}


def test_nodes_that_are_all_busy_for_longer_are_said_to_be_with_how_long() -> None:
    known = registry(node("a", models=[model(rates=RATES)], in_flight=9))
    told = explained(known, ASKED.model_copy(update={"patience_s": 0.5}))
    assert told.refused is not None
    assert told.refused.code == "overloaded"
    (only,) = told.considered
    assert only.reason == "overloaded"
    assert only.expected_first_s is not None
    assert only.expected_first_s > 0.5


def test_a_model_that_nobody_has_leaves_every_node_without_it() -> None:
    told = explained(registry(node("a")), PlaceRequest(model="ghost"))
    assert told.refused is not None
    assert (told.model, told.node_id, told.refused.code) == ("ghost", None, "model_not_found")
    assert [(c.node_id, c.reason) for c in told.considered] == [("a", "not_serving")]


def test_a_request_that_names_no_model_is_explained_for_the_default() -> None:
    assert explained(registry(node("a")), PlaceRequest()).model == "llama"


def room_explained(known: Registry, asked: PlaceRequest = ASKED, *, waited_s: float = 0.0) -> Explanation:
    snapshot = known.snapshot()
    decision = choose(asked, snapshot, NOW, draw=0.5)
    room = find_room(decision, snapshot, NOW, waited_s=waited_s) if decision.refusal is None else None
    return explain_room(asked, decision, room, snapshot)


def test_work_that_nobody_waits_for_has_a_reason_for_each_node_too() -> None:
    known = registry(
        node("a", in_flight=1),
        node("b"),
        node("c", draining=True),
        node("d", models=[model("phi")]),
        node("e", temperature_c=90.0),
    )
    told = room_explained(known)
    assert (told.model, told.policy, told.node_id, told.refused) == ("llama", "background", "b", None)
    assert {c.node_id: (c.replica, c.reason) for c in told.considered} == {
        "a": ("a-0", "busy"),
        "b": ("b-0", "taken"),
        "c": ("c-0", "draining"),
        "d": (None, "not_serving"),
        "e": ("e-0", "hot"),
    }


def test_work_without_room_says_when_it_asks_again_and_where_it_runs_once_it_has_waited() -> None:
    hot = registry(node("a", temperature_c=90.0))
    told = room_explained(hot)
    assert told.refused is not None
    assert (told.node_id, told.refused.code, told.refused.retry_after_s) == (None, "no_room", COOL_S)
    assert [(c.node_id, c.reason) for c in told.considered] == [("a", "hot")]
    assert room_explained(hot, waited_s=MACHINE_S).node_id == "a"


def test_work_that_no_node_may_take_is_refused_as_a_request_is() -> None:
    told = room_explained(registry(node("a", draining=True)))
    assert told.refused is not None
    assert (told.policy, told.refused.code) == ("background", "no_node")
    assert [(c.node_id, c.reason) for c in told.considered] == [("a", "draining")]
