"""Placing requests for a model with an adapter: where it is in memory, as far as loading it elsewhere costs."""

from __future__ import annotations

from typing import Any

import pytest

from libs.shared.contracts.scheduling import Outcome, Placed, PlaceRequest
from libs.shared.contracts.telemetry import NodeTelemetry, Rates, Replica
from libs.shared.errors import AdapterNotAllowed, AdapterNotFound, ModelNotFound, NoNode
from libs.shared.roles import NOBODY, Roles
from services.scheduler import listing, placement, policies
from services.scheduler.candidates import UNMEASURED_ADAPTER_LOAD_S, Candidate, Queue
from services.scheduler.explaining import explain
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


def dispatch(known: Registry, asked: str = "llama:ada", **about: Any) -> tuple[Candidate, Placed]:
    """As the scheduler's handler does."""
    decision = decide(known, asked, **about)
    assert decision.choice is not None
    assert decision.ask is not None
    return decision.choice, known.dispatched(
        decision.choice, PlaceRequest.model_validate({"model": asked, "adapter": decision.ask.adapter} | about)
    )


def check_that_a_burst_for_a_cold_adapter_loads_it_as_often_as_waiting_for_it_is_longer() -> None:
    """Ten requests of 0.2 s each, at once, where loading takes 4 s: nine find it on its way."""
    known = registry(*(having(f"n{number}") for number in range(10)))
    taken = {dispatch(known, max_tokens=20)[0].node.node_id for _ in range(10)}
    if len(taken) != 1:
        raise AssertionError(f"it is loaded on {len(taken)} nodes")


def test_a_burst_for_a_cold_adapter_loads_it_as_often_as_waiting_for_it_is_longer() -> None:
    check_that_a_burst_for_a_cold_adapter_loads_it_as_often_as_waiting_for_it_is_longer()


def test_loading_that_leaves_no_trace_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue, "brings", lambda self, adapter: False)
    with pytest.raises(AssertionError, match="it is loaded on"):
        check_that_a_burst_for_a_cold_adapter_loads_it_as_often_as_waiting_for_it_is_longer()


def test_a_long_burst_has_it_loaded_elsewhere_too() -> None:
    known = registry(*(having(f"n{number}") for number in range(10)))
    taken = [dispatch(known)[0].node.node_id for _ in range(40)]
    assert 1 < len(set(taken)) <= 10


def check_that_loading_stands_in_the_queue_of_the_others() -> None:
    """One second of answer and four of loading are ahead of whoever asks for the model alone."""
    known = registry(having("a"), clock=Clock(NOW))
    dispatch(known)
    told = decide(known, "llama")
    assert told.choice is not None
    assert told.ask is not None
    if policies.wait_s(told.choice, told.ask) != pytest.approx(5.0):
        raise AssertionError("it is waited for")


def test_loading_stands_in_the_queue_of_the_others() -> None:
    check_that_loading_stands_in_the_queue_of_the_others()


def test_a_queue_without_the_loading_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Candidate, "_left_to_load_s", lambda self, sent: 0.0)
    with pytest.raises(AssertionError, match="it is waited for"):
        check_that_loading_stands_in_the_queue_of_the_others()


def counting(
    known: Registry, sequence: int, *loaded: str, in_flight: int = 1, queued: int = 0, ahead_tokens: int = 0
) -> None:
    """The word of node ``a`` that it has every request that was sent there."""
    told = having("a", *loaded, ahead_tokens=ahead_tokens, sequence=sequence)
    [replica] = told.replicas
    seen = {known.scheduler: known._numbered}
    changed = replica.model_copy(update={"seen": seen, "in_flight": in_flight, "queued": queued})
    known.hear(told.model_copy(update={"replicas": (changed,)}))


def ahead_s(known: Registry) -> float:
    told = decide(known, "llama")
    assert told.choice is not None
    assert told.ask is not None
    return policies.wait_s(told.choice, told.ask)


def test_a_load_is_known_of_until_telemetry_tells_that_it_is_done() -> None:
    clock = Clock(NOW)
    known = registry(clock=clock)
    counting(known, 1, in_flight=0)
    candidate, _ = dispatch(known)
    clock.now = NOW + 1
    counting(known, 2, ahead_tokens=100)
    assert candidate.loading_s("ada") == 0.0, "it is on its way"
    assert candidate.free_at == pytest.approx(NOW + 5), "three seconds of loading, and one of writing"
    clock.now = NOW + 3
    counting(known, 3, "ada", ahead_tokens=100)
    assert candidate.loading_s("ada") == 0.0, "it is there"
    assert candidate.free_at == pytest.approx(NOW + 4), "it was quicker than was thought"
    counting(known, 4, in_flight=0)
    assert candidate.loading_s("ada") == 4.0, "it was put out for another, and nothing brings it back"


def test_one_that_waits_to_load_does_so_in_its_turn() -> None:
    clock = Clock(NOW)
    known = registry(clock=clock)
    counting(known, 1, in_flight=0)
    dispatch(known, "llama")
    candidate, _ = dispatch(known)
    clock.now = NOW + 0.5
    counting(known, 2, queued=1, ahead_tokens=150)
    assert candidate.free_at == pytest.approx(NOW + 0.5 + 0.5 + 4 + 1)
    assert candidate.least == pytest.approx(0.5 + 4 + 1), "half of what runs, and what hasn't begun"


def test_what_ends_takes_its_loading_along() -> None:
    known = registry(clock=Clock(NOW))
    counting(known, 1, in_flight=0)
    candidate, placed = dispatch(known)
    told = {"node_id": "a", "replica": "a-0", "model": "llama", "ok": None, "ticket": placed.ticket}
    known.outcome(Outcome.model_validate(told))
    assert candidate.loading_s("ada") == 4.0
    assert ahead_s(known) == 0.0


def test_other_schedulers_know_of_the_load() -> None:
    known, other = (registry(having("a"), clock=Clock(NOW)) for _ in range(2))
    _, placed = dispatch(other)
    known.placed_elsewhere(Placed.model_validate_json(placed.model_dump_json()))
    [candidate] = known.snapshot().candidates["llama"]
    assert candidate.loading_s("ada") == 0.0
    assert ahead_s(known) == ahead_s(other) == pytest.approx(5.0)


def test_a_peer_that_tells_of_no_adapter_is_counted_as_before() -> None:
    known, other = (registry(having("a"), clock=Clock(NOW)) for _ in range(2))
    _, placed = dispatch(other)
    known.placed_elsewhere(placed.model_copy(update={"adapter": None}))
    assert ahead_s(known) == pytest.approx(1.0)


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


def check_that_a_model_of_that_name_that_is_gone_stands_in_no_adapters_way() -> None:
    known = registry(having("a"), node("b", models=[model("llama:ada")]))
    known.hear(node("b", sequence=2, models=[model("other")]))
    decision = decide(known)
    if decision.choice is None:
        raise AssertionError(f"it is refused: {decision.refusal}")
    assert chosen(decision) == "a"
    assert decision.ask is not None
    assert decision.ask.adapter == "ada"


def test_a_model_of_that_name_that_is_gone_stands_in_no_adapters_way() -> None:
    check_that_a_model_of_that_name_that_is_gone_stands_in_no_adapters_way()


def test_a_name_that_stayed_a_model_s_for_ever_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_has_adapter", lambda *_: False)
    with pytest.raises(AssertionError, match="it is refused"):
        check_that_a_model_of_that_name_that_is_gone_stands_in_no_adapters_way()


def test_a_model_of_that_name_that_is_gone_is_missed_where_no_adapter_is_called_so() -> None:
    known = registry(having("a", adapters=()), node("b", models=[model("llama:ada")]))
    known.hear(node("b", sequence=2, models=[model("other")]))
    assert isinstance(decide(known).refusal, NoNode), "the node that has it may come back"


def with_roles(known: Registry, roles: Roles, *, now: float = NOW, **about: Any) -> Decision:
    request = PlaceRequest.model_validate({"adapts": True} | about)
    return choose(request, known.snapshot(), now, draw=0.5, roles=roles)


def check_that_a_role_can_be_given_to_a_model_with_an_adapter() -> None:
    """Whoever names the role, or nothing, gets both; who names the model gets the model."""
    known = registry(node("0", models=[model("first")]), having("a", adapters=()), having("b"))
    roles = Roles(chat="llama:ada")
    for asked in (None, "chat", "mongars/chat", "code"):
        decision = with_roles(known, roles, model=asked)
        assert decision.ask is not None
        if (chosen(decision), decision.ask.adapter) != ("b", "ada"):
            raise AssertionError(f"{asked} gets {chosen(decision)} with {decision.ask.adapter}")
    alone = with_roles(known, roles, model="llama")
    assert alone.ask is not None
    assert alone.ask.adapter is None


def test_a_role_can_be_given_to_a_model_with_an_adapter() -> None:
    check_that_a_role_can_be_given_to_a_model_with_an_adapter()


def test_a_role_that_knows_of_no_adapter_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "apart", lambda name, snapshot: (name, None))
    with pytest.raises(AssertionError, match="gets 0 with None"):
        check_that_a_role_can_be_given_to_a_model_with_an_adapter()


def test_an_adapter_that_the_request_names_goes_before_that_of_the_role() -> None:
    known = registry(having("a", adapters=("ada", "bea")))
    for asked, adapter in (("chat:bea", None), ("chat", "bea"), (None, "bea")):
        decision = with_roles(known, Roles(chat="llama:ada"), model=asked, adapter=adapter)
        assert decision.ask is not None
        assert decision.ask.adapter == "bea"


def test_a_role_s_adapter_that_is_nowhere_alive_leaves_its_model_alone() -> None:
    known = registry(node("0", models=[model("first")]), having("a", adapters=()))
    decision = with_roles(known, Roles(chat="llama:ada"))
    assert decision.ask is not None
    assert (chosen(decision), decision.ask.adapter) == ("a", None)
    clock = Clock(NOW)
    known = registry(having("b"), clock=clock)
    clock.now += 100
    known.hear(having("a", adapters=()))
    decision = with_roles(known, Roles(chat="llama:ada"), now=clock.now)
    assert decision.ask is not None
    assert (chosen(decision), decision.ask.adapter) == ("a", None)


def test_who_would_not_pass_it_on_and_jobs_get_the_role_s_model_alone() -> None:
    decision = with_roles(registry(having("a")), Roles(chat="llama:ada"), adapts=False)
    assert decision.ask is not None
    assert (chosen(decision), decision.ask.adapter) == ("a", None)


def test_what_has_a_role_is_told_with_its_adapter() -> None:
    known = registry(node("0", models=[model("first")]), having("a"))
    told = listing.models(known.snapshot(), NOW, Roles(chat="llama:ada"))
    assert (told.default_chat, told.default_code) == ("llama:ada", "llama:ada")
    assert listing.models(known.snapshot(), NOW, Roles(chat="llama:bea")).default_chat == "llama"


def test_an_explanation_names_the_adapter_its_loading_and_where_it_is_not() -> None:
    known = registry(having("a", adapters=()), having("b"), having("c", "ada"))
    request = PlaceRequest(model="llama:ada", adapts=True, prompt_tokens=1000, max_tokens=100)
    told = explain(request, choose(request, known.snapshot(), NOW, draw=0.5), known.snapshot())
    assert (told.model, told.node_id) == ("llama:ada", "c")
    assert [(c.node_id, c.reason, c.loading_s, c.expected_first_s) for c in told.considered] == [
        ("a", "adapter_not_here", None, None),
        ("b", "later_completion", 4.0, 5.0),
        ("c", "taken", 0.0, 1.0),
    ]
    nobody = request.model_copy(update={"model": "llama:zed"})
    told = explain(nobody, choose(nobody, known.snapshot(), NOW, draw=0.5), known.snapshot())
    assert told.refused is not None
    assert (told.model, told.refused.code) == ("llama:zed", "adapter_not_found")
    assert {c.reason for c in told.considered} == {"adapter_not_here"}


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


def restricted(node_id: str = "a") -> NodeTelemetry:
    """A node whose adapter is not everybody's."""
    told = having(node_id, "ada")
    return told.model_copy(update={"models": tuple(m.model_copy(update={"restricted": ("ada",)}) for m in told.models)})


def check_that_a_restricted_one_answers_only_those_who_may_use_it() -> None:
    known = registry(restricted(), having("b", adapters=()))
    assert chosen(decide(known, may_use=("ada",))) == "a"
    refused = decide(known, may_use=("bob",))
    if not isinstance(refused.refusal, AdapterNotAllowed):
        raise AssertionError(f"it is {refused.choice}")
    assert refused.rejected == {"a": "adapter_not_allowed", "b": "adapter_not_here"}
    roles = Roles(chat="llama:ada")
    for may_use, adapter in ((("ada",), "ada"), ((), None)):
        asked = PlaceRequest(adapts=True, may_use=may_use)
        told = choose(asked, known.snapshot(), NOW, draw=0.5, roles=roles)
        assert told.ask is not None
        assert told.choice is not None
        assert (told.ask.adapter, chosen(told) == "a" or adapter is None) == (adapter, True)


def test_a_restricted_one_answers_only_those_who_may_use_it_and_a_role_falls_to_its_model_for_others() -> None:
    check_that_a_restricted_one_answers_only_those_who_may_use_it()


def test_the_check_notices_that_nobody_asks_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_allowed", lambda *_: True)
    with pytest.raises(AssertionError):
        check_that_a_restricted_one_answers_only_those_who_may_use_it()


def test_where_one_node_has_it_for_everybody_others_are_sent_there() -> None:
    assert chosen(decide(registry(restricted("a"), having("b")))) == "b"


def test_the_list_says_which_are_restricted() -> None:
    told = listing.models(registry(restricted()).snapshot(), NOW, Roles(chat="llama:ada"))
    assert (told.models[0].restricted, told.default_chat) == (("ada",), "llama:ada")
