"""Placement: who is never chosen, who is, and that every node passed over has its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.scheduling import Outcome, PlaceRequest
from libs.shared.contracts.telemetry import NodeTelemetry, Rates, Replica, ServedModel
from libs.shared.errors import ModelNotFound, NoModel, NoNode, Overloaded, RemoteNotAllowed, Unsupported
from libs.shared.roles import Roles
from services.scheduler import placement
from services.scheduler.candidates import Candidate
from services.scheduler.placement import Decision, choose
from services.scheduler.policies import POLICIES
from services.scheduler.registry import Registry, RegistryRules
from tests.unit.scheduler.clusters import Clock, model, node, registry

SILENT_S = RegistryRules().silent_s


def decide(
    known: Registry,
    request: PlaceRequest | None = None,
    *,
    now: float = 1000.0,
    draw: float = 0.5,
    policy: str = "least_in_flight",
) -> Decision:
    return choose(request or PlaceRequest(model="llama"), known.snapshot(), now, draw=draw, policy=policy)


def chosen(decision: Decision) -> str:
    assert decision.choice is not None, decision.refusal
    return decision.choice.node.node_id


def fail(known: Registry, node_id: str, times: int = 3) -> None:
    for _ in range(times):
        known.outcome(Outcome(node_id=node_id, replica=f"{node_id}-0", model="llama", ok=False, reason="error"))


def test_the_least_loaded_node_is_chosen() -> None:
    known = registry(node("a", in_flight=3), node("b", in_flight=1), node("c", in_flight=2))
    decision = decide(known)
    assert chosen(decision) == "b"
    assert decision.rejected == {"a": "longer_queue", "c": "longer_queue"}


def test_load_is_counted_for_each_slot() -> None:
    wide = Replica(replica="a-0", models=("llama",), in_flight=3, slots=4)
    known = registry(node("a", replicas=(wide,)), node("b", in_flight=1))
    assert chosen(decide(known)) == "a"


def test_a_draining_node_is_never_chosen() -> None:
    known = registry(node("a", draining=True), node("b", in_flight=9))
    decision = decide(known)
    assert chosen(decision) == "b"
    assert decision.rejected["a"] == "draining"


AFAR = model("far", remote=True, upstream="afar")


def test_without_leave_a_remote_model_is_never_chosen() -> None:
    known = registry(node("a", models=[AFAR]))
    named = choose(PlaceRequest(model="far"), known.snapshot(), 1000.0, draw=0.5)
    assert isinstance(named.refusal, RemoteNotAllowed)
    assert isinstance(choose(PlaceRequest(), known.snapshot(), 1000.0, draw=0.5).refusal, NoModel)
    allowed = choose(PlaceRequest(model="far"), known.snapshot(), 1000.0, draw=0.5, remote_models=True)
    assert chosen(allowed) == "a"


def test_a_model_of_this_network_is_the_default_before_a_remote_one() -> None:
    known = registry(node("a", models=[AFAR, model("near")]))
    decision = choose(PlaceRequest(), known.snapshot(), 1000.0, draw=0.5, remote_models=True)
    assert decision.choice is not None
    assert decision.choice.model.name == "near"


def test_where_a_model_is_served_within_this_network_it_is_never_asked_beyond_it() -> None:
    known = registry(node("a", models=[model("both", remote=True)]), node("b", models=[model("both")], in_flight=9))
    decision = choose(PlaceRequest(model="both"), known.snapshot(), 1000.0, draw=0.5, remote_models=True)
    assert (chosen(decision), decision.rejected) == ("b", {"a": "remote"})


def test_a_silent_node_is_never_chosen() -> None:
    clock = Clock()
    known = registry(node("a"), clock=clock)
    clock.now += SILENT_S + 0.1
    known.hear(node("b", in_flight=9))
    decision = decide(known, now=clock.now)
    assert chosen(decision) == "b"
    assert decision.rejected["a"] == "silent"


def test_an_open_breaker_is_never_passed() -> None:
    known = registry(node("a"), node("b", in_flight=9))
    fail(known, "a")
    decision = decide(known)
    assert chosen(decision) == "b"
    assert decision.rejected["a"] == "breaker_open"


def test_a_replica_that_was_tried_is_not_given_again() -> None:
    known = registry(node("a"), node("b", in_flight=9))
    decision = decide(known, PlaceRequest(model="llama", exclude=("a-0",)))
    assert chosen(decision) == "b"
    assert decision.rejected["a"] == "excluded"


def test_a_node_that_has_the_request_already_is_not_given_it_again_by_another_replica() -> None:
    two = tuple(Replica(replica=f"a-{number}", models=("llama",)) for number in range(2))
    known = registry(node("a", replicas=two), node("b", in_flight=9))
    decision = decide(known, PlaceRequest(model="llama", exclude_nodes=("a",)))
    assert chosen(decision) == "b"
    assert decision.rejected["a"] == "excluded"
    alone = decide(registry(node("a", replicas=two)), PlaceRequest(model="llama", exclude_nodes=("a",)))
    assert isinstance(alone.refusal, NoNode)


def test_own_dispatches_since_the_snapshot_count_as_load() -> None:
    known = registry(node("a"), node("b"))
    placed = []
    for _ in range(10):
        decision = decide(known, draw=0.0)
        placed.append(chosen(decision))
        assert decision.choice is not None
        known.dispatched(decision.choice, PlaceRequest(prompt_tokens=100))
    assert placed.count("a") == placed.count("b") == 5


def test_equals_share_the_load_by_the_draw() -> None:
    known = registry(node("a"), node("b"), node("c"))
    assert [chosen(decide(known, draw=d)) for d in (0.0, 0.4, 0.99)] == ["a", "b", "c"]


def test_a_model_that_was_never_offered_is_not_found() -> None:
    assert isinstance(decide(registry(node("a")), PlaceRequest(model="gpt-9")).refusal, ModelNotFound)


def test_a_model_of_a_forgotten_node_is_known_but_nowhere() -> None:
    clock = Clock()
    known = registry(node("a"), clock=clock)
    clock.now += RegistryRules().expires_s + 1
    assert known.expire() == ("a",)
    assert isinstance(decide(known, now=clock.now).refusal, NoNode)


def test_no_language_model_at_all_is_said() -> None:
    extractive_only = registry(node("a", models=[model("extractive", backend="extractive")]))
    assert isinstance(decide(extractive_only, PlaceRequest()).refusal, NoModel)
    assert isinstance(decide(registry(), PlaceRequest()).refusal, NoModel)


def test_extractive_is_placed_when_named() -> None:
    known = registry(node("a", models=[model("extractive", backend="extractive")]))
    assert chosen(decide(known, PlaceRequest(model="extractive"))) == "a"


def test_all_nodes_away_is_a_refusal_that_says_when_to_come_back() -> None:
    known = registry(node("a", draining=True))
    refusal = decide(known).refusal
    assert isinstance(refusal, NoNode)
    assert refusal.data["retry_after_s"] > 0


def test_what_the_model_lacks_is_named() -> None:
    known = registry(node("a"))
    refusal = decide(known, PlaceRequest(model="llama", needs=("tools",))).refusal
    assert isinstance(refusal, Unsupported)
    assert refusal.data["lacks"] == "tools"


def test_an_embedder_is_not_given_chats() -> None:
    known = registry(node("a", models=[model("minilm", kind="embed")]))
    assert isinstance(decide(known, PlaceRequest(model="minilm")).refusal, Unsupported)
    assert chosen(decide(known, PlaceRequest(kind="embed"))) == "a"


def test_the_settings_default_is_taken_where_a_living_node_has_it() -> None:
    clock = Clock()
    known = registry(node("a", models=[model("one"), model("two")]), clock=clock)
    snapshot = known.snapshot()
    decision = choose(PlaceRequest(), snapshot, clock.now, draw=0.0, roles=Roles(chat="two"))
    assert decision.choice is not None
    assert decision.choice.model.name == "two"
    decision = choose(PlaceRequest(), snapshot, clock.now, draw=0.0, roles=Roles(chat="three"))
    assert decision.choice is not None
    assert decision.choice.model.name == "one"


@pytest.mark.parametrize("named", ["code", "mongars/code"])
def test_a_role_is_answered_by_the_model_that_has_it(named: str) -> None:
    clock = Clock()
    known = registry(
        node("a", models=[model("one"), model("two"), model("x", kind="embed"), model("y", kind="embed")]), clock=clock
    )

    def by(roles: Roles, name: str, kind: Literal["chat", "embed"] = "chat") -> str:
        request = PlaceRequest(kind=kind, model=name)
        decision = choose(request, known.snapshot(), clock.now, draw=0.0, roles=roles)
        assert decision.choice is not None, decision.refusal
        return decision.choice.model.name

    assert by(Roles(code="two"), named) == "two"
    assert by(Roles(chat="two"), named) == "two", "what has no model of its own takes the one for chat"
    assert by(Roles(code="two"), "mongars/chat") == "one"
    assert by(Roles(code="gone"), named) == "one", "a model that is away is replaced, as the default is"
    assert by(Roles(embed="y"), "embed", "embed") == "y"
    assert by(Roles(), "mongars/embed", "embed") == "x"
    refused = choose(PlaceRequest(model="mongars/embed"), known.snapshot(), clock.now, draw=0.0)
    assert isinstance(refused.refusal, ModelNotFound)


def test_a_model_that_is_called_like_a_role_goes_before_it() -> None:
    clock = Clock()
    known = registry(node("a", models=[model("code"), model("two")]), clock=clock)
    decision = choose(PlaceRequest(model="code"), known.snapshot(), clock.now, draw=0.0, roles=Roles(code="two"))
    assert decision.choice is not None
    assert decision.choice.model.name == "code"


def test_a_role_without_any_model_says_that_there_is_none() -> None:
    decision = choose(PlaceRequest(model="code"), registry().snapshot(), 0.0, draw=0.0)
    assert isinstance(decision.refusal, NoModel)


def test_the_default_moves_to_a_living_node() -> None:
    clock = Clock()
    known = registry(node("a", models=[model("one")]), clock=clock)
    clock.now += SILENT_S + 1
    known.hear(node("b", models=[model("two")]))
    decision = decide(known, PlaceRequest(), now=clock.now)
    assert decision.choice is not None
    assert decision.choice.model.name == "two"


def test_what_can_not_begin_in_time_is_refused_with_the_time_to_come_back() -> None:
    rates = Rates(prompt_tokens_per_s=100.0, generated_tokens_per_s=10.0, answer_tokens=50.0)
    busy = Replica(replica="a-0", models=("llama",), in_flight=1, to_read_tokens=500, to_write_tokens=50)
    known = registry(node("a", models=[model(rates=rates)], replicas=(busy,)))
    refusal = decide(known, PlaceRequest(model="llama", prompt_tokens=100, patience_s=5.0)).refusal
    assert isinstance(refusal, Overloaded)
    assert refusal.data["retry_after_s"] == 5.0, "10 s of work ahead, less 5 s of patience"
    assert chosen(decide(known, PlaceRequest(model="llama", prompt_tokens=100, patience_s=12.0))) == "a"
    idle = registry(node("a", models=[model(rates=rates)]))
    assert chosen(decide(idle, PlaceRequest(model="llama", prompt_tokens=9000, patience_s=5.0))) == "a", (
        "a free slot is not refused: nobody could begin sooner"
    )


def test_what_would_speak_too_late_is_left_out() -> None:
    def read_at(tokens_per_s: float) -> ServedModel:
        return model(rates=Rates(prompt_tokens_per_s=tokens_per_s, generated_tokens_per_s=10.0, answer_tokens=10.0))

    known = registry(node("a", models=[read_at(10.0)]), node("b", models=[read_at(100.0)]))
    slower = PlaceRequest(model="llama", prompt_tokens=100, first_within_s=2.0, exclude_nodes=("b",))
    assert isinstance(decide(known, slower).refusal, Overloaded)
    assert decide(known, slower).rejected == {"a": "too_late", "b": "excluded"}
    both = decide(known, slower.model_copy(update={"exclude_nodes": ()}))
    assert chosen(both) == "b"
    assert both.rejected == {"a": "too_late"}
    assert chosen(decide(known, slower.model_copy(update={"first_within_s": 20.0}))) == "a"


def test_a_node_that_lists_a_model_and_has_no_replica_with_it_is_said_to() -> None:
    known = registry(node("a"), node("b", replicas=()))
    assert decide(known).reasons == {"not_serving": 1}
    assert isinstance(decide(registry(node("b", replicas=()))).refusal, NoNode)


nodes = st.lists(
    st.builds(
        lambda n, draining, age, broken, load, excluded: (n, draining, age, broken, load, excluded),
        st.integers(0, 30),
        st.booleans(),
        st.floats(0, 10),
        st.booleans(),
        st.integers(0, 50),
        st.booleans(),
    ),
    unique_by=lambda t: t[0],
    max_size=12,
)


def check_placement(
    cluster: list[tuple[int, bool, float, bool, int, bool]],
    policy: str,
    draw: float,
    decider: Callable[..., Decision] = choose,
) -> None:
    """The invariant of every policy: only a usable node is chosen, and each other has a reason."""
    clock = Clock()
    known = registry(clock=clock)
    unusable, excluded = set(), []
    for number, draining, age, broken, load, exclude in sorted(cluster, key=lambda t: -t[2]):
        name = f"n{number}"
        clock.now = 1000.0 - age
        known.hear(_telemetry(name, draining, load))
        clock.now = 1000.0
        if broken:
            fail(known, name)
        if exclude:
            excluded.append(f"{name}-0")
        if draining or broken or exclude or age > SILENT_S:
            unusable.add(name)
    request = PlaceRequest(model="llama", exclude=tuple(excluded))
    decision = decider(request, known.snapshot(), 1000.0, draw=draw, policy=policy)
    names = {f"n{t[0]}" for t in cluster}
    if decision.choice is None:
        assert decision.refusal is not None
        assert names == unusable
        assert set(decision.rejected) == names
    else:
        taken = decision.choice.node.node_id
        assert taken not in unusable
        assert set(decision.rejected) == names - {taken}
        assert sum(decision.reasons.values()) == len(decision.rejected)


def _telemetry(name: str, draining: bool, load: int) -> NodeTelemetry:
    return node(name, draining=draining, in_flight=load)


@given(nodes, st.sampled_from(sorted(POLICIES)), st.floats(0, 1, exclude_max=True))
def test_only_usable_nodes_are_chosen_and_every_other_has_a_reason(
    cluster: list[tuple[int, bool, float, bool, int, bool]], policy: str, draw: float
) -> None:
    check_placement(cluster, policy, draw)


DRAINING = [(1, True, 0.0, False, 0, False), (2, False, 0.0, False, 5, False)]
SILENT = [(1, False, 5.0, False, 0, False), (2, False, 0.0, False, 5, False)]
BROKEN = [(1, False, 0.0, True, 0, False), (2, False, 0.0, False, 5, False)]


def blind_to(**fields: object) -> Callable[..., object]:
    """A sift that sees every candidate with these fields."""
    true = placement.sift

    def sift(candidates: Sequence[Candidate], *rest: Any, **more: Any) -> object:
        for candidate in candidates:
            for name, value in fields.items():
                setattr(candidate, name, value)
        return true(candidates, *rest, **more)

    return sift


@pytest.mark.parametrize(
    ("cluster", "target", "mutant"),
    [
        (DRAINING, "sift", blind_to(draining=False)),
        (SILENT, "sift", blind_to(heard_at=1000.0)),
        (BROKEN, "_closed", lambda *_: True),
    ],
    ids=["draining ignored", "silence ignored", "breakers ignored"],
)
def test_the_invariant_catches_a_placement_that_looks_away(
    monkeypatch: pytest.MonkeyPatch,
    cluster: list[tuple[int, bool, float, bool, int, bool]],
    target: str,
    mutant: Callable[..., object],
) -> None:
    check_placement(cluster, "least_in_flight", 0.5)
    monkeypatch.setattr(placement, target, mutant)
    with pytest.raises(AssertionError):
        check_placement(cluster, "least_in_flight", 0.5)


def test_placing_at_random_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "least_in_flight", lambda choices, request, draw: choices[int(draw * len(choices))])
    with pytest.raises(AssertionError):
        test_the_least_loaded_node_is_chosen_whatever_the_draw()


def test_the_least_loaded_node_is_chosen_whatever_the_draw() -> None:
    known = registry(node("a", in_flight=3), node("b", in_flight=1), node("c", in_flight=2))
    assert {chosen(decide(known, draw=d)) for d in (0.0, 0.3, 0.6, 0.99)} == {"b"}
