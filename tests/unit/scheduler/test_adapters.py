"""Placing requests for a model with an adapter: where it is in memory, as far as loading it elsewhere costs."""

from __future__ import annotations

from typing import Any

import pytest

from libs.shared.contracts.scheduling import PlaceRequest
from libs.shared.contracts.telemetry import NodeTelemetry, Rates, Replica
from libs.shared.errors import AdapterNotFound, ModelNotFound, NoNode
from libs.shared.roles import NOBODY
from services.scheduler import listing, policies
from services.scheduler.candidates import UNMEASURED_ADAPTER_LOAD_S, Candidate
from services.scheduler.placement import Decision, choose
from services.scheduler.registry import Registry
from tests.unit.scheduler.clusters import Clock, model, node, registry

NOW = 1000.0
RATES = Rates(prompt_tokens_per_s=1000.0, generated_tokens_per_s=100.0, answer_tokens=100.0)


def having(
    node_id: str, *loaded: str, adapters: tuple[str, ...] = ("ada",), load_s: float | None = 4.0, **fields: Any
) -> NodeTelemetry:
    """A node with a model of one second an answer, whose adapters take ``load_s`` to load."""
    served = model(adapters=adapters, adapter_load_s=load_s, rates=RATES, caches_prefix=True)
    inside = tuple(f"llama:{name}" for name in loaded)
    busy = fields.pop("ahead_tokens", 0)
    replica = Replica(
        replica=f"{node_id}-0",
        models=("llama",),
        adapters=inside,
        in_flight=1 if busy else 0,
        to_read_tokens=0,
        to_write_tokens=busy,
    )
    return node(node_id, models=[served], replicas=(replica,), **fields)


def decide(known: Registry, asked: str = "llama:ada", **about: Any) -> Decision:
    return choose(
        PlaceRequest.model_validate({"model": asked, "adapts": True} | about), known.snapshot(), NOW, draw=0.5
    )


def chosen(decision: Decision) -> str:
    assert decision.choice is not None, decision.refusal
    return decision.choice.node.node_id


def check_that_what_is_loaded_is_preferred_as_much_as_loading_costs() -> None:
    """The other node would have to load it for four seconds: it is taken when the work here takes longer."""
    assert chosen(decide(registry(having("a"), having("b", "ada")))) == "b"
    assert chosen(decide(registry(having("a"), having("b", "ada", ahead_tokens=100)))) == "b"
    if chosen(decide(registry(having("a"), having("b", "ada", ahead_tokens=1000)))) != "a":
        raise AssertionError("it is waited for longer than loading takes")


def test_what_is_loaded_is_preferred_as_much_as_loading_costs() -> None:
    check_that_what_is_loaded_is_preferred_as_much_as_loading_costs()


def test_a_policy_without_regard_to_what_is_loaded_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Candidate, "loading_s", lambda self, adapter: 0.0)
    with pytest.raises(AssertionError):
        check_that_what_is_loaded_is_preferred_as_much_as_loading_costs()


def test_the_expected_end_tells_of_the_loading() -> None:
    for loaded, load_s, longer in (("ada", 4.0, 0.0), ("", 4.0, 4.0), ("", None, UNMEASURED_ADAPTER_LOAD_S)):
        known = registry(having("a", *filter(None, [loaded]), load_s=load_s))
        told = decide(known, prompt_tokens=1000, max_tokens=100)
        assert told.ask is not None
        assert told.choice is not None
        assert policies.completions_s([told.choice], told.ask) == [pytest.approx(2.0 + longer)]


def test_nodes_without_it_are_no_candidates_and_say_so() -> None:
    known = registry(having("a", adapters=()), having("b"), having("c", adapters=("bea",)))
    decision = decide(known)
    assert chosen(decision) == "b"
    assert decision.rejected == {"a": "adapter_not_here", "c": "adapter_not_here"}
    assert decision.reasons == {"adapter_not_here": 2}


def test_one_that_no_node_has_is_not_found_and_the_model_still_answers() -> None:
    known = registry(having("a"))
    assert isinstance(decide(known, "llama:cleo").refusal, AdapterNotFound)
    assert isinstance(decide(known, "other:ada").refusal, ModelNotFound)
    assert chosen(decide(known, "llama")) == "a"


def test_one_that_only_a_draining_node_has_is_waited_for() -> None:
    refusal = decide(registry(having("a", draining=True), having("b", adapters=()))).refusal
    assert isinstance(refusal, NoNode)
    assert refusal.data["retry_after_s"] > 0


def test_a_field_of_its_own_and_a_role_name_it_as_well() -> None:
    known = registry(having("a", adapters=()), having("b"))
    for asked, adapter in (("llama", "ada"), ("chat", "ada"), (None, "ada"), ("chat:ada", None)):
        decision = choose(PlaceRequest(model=asked, adapter=adapter, adapts=True), known.snapshot(), NOW, draw=0.0)
        assert chosen(decision) == "b"
        assert decision.ask is not None
        assert decision.ask.adapter == "ada"


def test_a_model_that_is_called_so_goes_before() -> None:
    known = registry(having("a"), node("b", models=[model("llama:ada")]))
    decision = decide(known)
    assert chosen(decision) == "b"
    assert decision.ask is not None
    assert decision.ask.adapter is None


def test_a_session_is_warm_with_the_adapter_alone_that_has_read_it() -> None:
    known = registry(having("a", "ada", "bea", adapters=("ada", "bea")), clock=Clock(NOW))
    request = PlaceRequest(model="llama", adapter="ada", session="s", prompt_tokens=500, max_tokens=100)
    decision = choose(request, known.snapshot(), NOW, draw=0.0)
    assert decision.choice is not None
    known.dispatched(decision.choice, request)
    with_other = choose(request.model_copy(update={"adapter": "bea"}), known.snapshot(), NOW, draw=0.0)
    again = choose(request, known.snapshot(), NOW, draw=0.0)
    assert again.ask is not None
    assert with_other.ask is not None
    assert again.ask.warm is not None
    assert with_other.ask.warm is None


def test_every_node_s_adapters_are_listed_with_their_model() -> None:
    known = registry(having("a"), having("b", adapters=("bea",)))
    [listed] = listing.models(known.snapshot(), NOW, NOBODY).models
    assert listed.adapters == ("ada", "bea")


def test_who_would_not_pass_the_adapter_on_is_refused_rather_than_given_the_model_s_own_answer() -> None:
    assert isinstance(decide(registry(having("a")), adapts=False).refusal, ModelNotFound)
