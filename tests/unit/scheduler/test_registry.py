"""The registry keeps the newest word of each node, and forgets what is gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.scheduling import Outcome, PlaceRequest, Ticket
from libs.shared.contracts.telemetry import NodeTelemetry, Rates, Replica
from libs.shared.roles import NOBODY
from services.scheduler import listing
from services.scheduler.candidates import LOST_S, Candidate
from services.scheduler.distrust import Distrust
from services.scheduler.policies import Ask, wait_s
from services.scheduler.registry import RETIRED_BOOTS, Registry, RegistryRules
from services.scheduler.under_way import DISPATCHES
from tests.unit.scheduler.clusters import Clock, model, node, registry


@given(st.permutations(range(1, 7)))
def test_reordered_telemetry_leaves_the_newest(order: list[int]) -> None:
    known = registry(*(node("a", sequence=n, in_flight=n) for n in order))
    (telemetry,) = known.telemetry()
    assert telemetry.sequence == 6
    assert known.snapshot().nodes["a"].replicas[0].load == 6


def test_an_older_sequence_is_dropped() -> None:
    known = registry(node("a", sequence=5))
    assert not known.hear(node("a", sequence=5))
    assert not known.hear(node("a", sequence=4))
    assert known.hear(node("a", sequence=6))


def test_a_restarted_node_begins_anew_and_its_old_words_are_dropped() -> None:
    known = registry(node("a", sequence=900, boot_id="first"))
    assert known.hear(node("a", sequence=1, boot_id="second"))
    assert not known.hear(node("a", sequence=901, boot_id="first"))
    assert known.telemetry()[0].boot_id == "second"


def test_retired_boots_are_bounded() -> None:
    known = registry(*(node("a", boot_id=f"b{n}") for n in range(100)))
    assert len(known._retired["a"]) == RETIRED_BOOTS


RATES = Rates(prompt_tokens_per_s=100.0, generated_tokens_per_s=10.0, answer_tokens=50.0)


def candidate(known: Registry, place: int = 0) -> Candidate:
    return known.snapshot().candidates["llama"][place]


def place(known: Registry, prompt_tokens: int = 100, **fields: object) -> Ticket:
    request = {"model": "llama", "prompt_tokens": prompt_tokens} | fields
    return known.dispatched(candidate(known), PlaceRequest.model_validate(request)).ticket


def telling(sequence: int, seen: dict[str, int] | None, *, in_flight: int = 0, read: int = 0) -> NodeTelemetry:
    """Node ``a``, which reckons what is ahead and says which tickets it has seen."""
    replica = Replica(
        replica="a-0", models=("llama",), in_flight=in_flight, to_read_tokens=read, to_write_tokens=0, seen=seen
    )
    return node("a", sequence=sequence, models=[model(rates=RATES)], replicas=(replica,))


def test_telemetry_takes_over_what_was_dispatched_before_it() -> None:
    clock = Clock()
    known = registry(node("a"), clock=clock)
    place(known)
    clock.now += 1
    place(known, 50)
    known.hear(node("a", sequence=2, in_flight=1))
    assert candidate(known).load == 2, "the second is too young to be in the snapshot"
    assert [sent.prompt_tokens for sent in candidate(known).queue.sent] == [50]


def test_old_telemetry_does_not_swallow_what_it_has_not_seen() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    first = place(known)
    clock.now += 6
    second = place(known, 200)
    clock.now += 1
    known.hear(telling(2, {known.scheduler: first.number}, in_flight=1, read=100))
    assert candidate(known).load == 2
    assert candidate(known).free_at == pytest.approx(1007.0 + 7.0), (
        "taken before the second came in at 1006; 1 s of reading done since; then 200 tokens read and 50 written"
    )
    known.hear(telling(3, {known.scheduler: second.number}))
    assert candidate(known).load == 0


def test_the_tickets_of_another_scheduler_say_nothing_of_this_ones() -> None:
    known = registry(telling(1, {}))
    place(known)
    known.hear(telling(2, {"another": 900}))
    assert candidate(known).load == 1


def test_what_another_scheduler_places_is_counted_until_telemetry_counts_it() -> None:
    known, other = registry(telling(1, {})), registry(telling(1, {}))
    placed = other.dispatched(candidate(other), PlaceRequest(model="llama", prompt_tokens=100))
    known.placed_elsewhere(placed)
    assert candidate(known).load == 1
    assert candidate(known).free_at == candidate(other).free_at
    known.hear(telling(2, {other.scheduler: placed.ticket.number}, in_flight=1))
    assert candidate(known).load == 1
    known.placed_elsewhere(placed)
    assert candidate(known).load == 1, "told of late, it is known already"
    other.placed_elsewhere(placed)
    assert candidate(other).load == 1, "its own word comes back to it"


def test_a_dispatch_that_never_comes_in_is_given_up() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    place(known)
    clock.now += LOST_S + 1
    known.hear(telling(2, {}))
    assert candidate(known).load == 0


def test_tickets_rise_as_long_as_the_scheduler_lives() -> None:
    known = registry(node("a"), node("b"))
    assert [place(known).number, place(known).number] == [1, 2]
    elsewhere = known.dispatched(candidate(known, 1), PlaceRequest(model="llama")).ticket
    assert elsewhere == Ticket(scheduler=known.scheduler, number=3)


def test_a_replica_that_was_away_for_a_moment_counts_the_tickets_that_follow() -> None:
    known = registry(telling(1, {}))
    seen = {known.scheduler: place(known).number}
    known.hear(node("a", sequence=2, models=[model(rates=RATES)], replicas=()))
    known.hear(telling(3, seen))
    place(known)
    known.hear(telling(4, seen))
    assert candidate(known).load == 1


def test_where_telemetry_is_fresh_a_lost_dispatch_is_given_up_soon() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    for sequence in range(2, 400):
        ticket = place(known)
        clock.now += 0.25
        known.hear(telling(sequence, {known.scheduler: ticket.number}))
    place(known)
    clock.now += 2.0
    known.hear(telling(400, {known.scheduler: ticket.number}, in_flight=1, read=1000))
    assert candidate(known).load == 1
    assert candidate(known).free_at == pytest.approx(clock.now + 10.0), "and makes no telemetry older than it is"


def test_a_node_that_is_undrained_is_chosen_before_its_next_telemetry() -> None:
    known = registry(node("a"))
    for draining in (True, False):
        known.set_draining("a", draining)
        assert candidate(known).draining is draining
        assert known.snapshot().nodes["a"].replicas[0].draining is draining


def test_dispatches_to_a_node_that_never_speaks_are_bounded() -> None:
    known = registry(node("a"))
    for _ in range(DISPATCHES + 10):
        place(known, 3)
    assert len(candidate(known).queue.sent) == DISPATCHES


def test_a_node_that_writes_slower_than_it_says_is_reckoned_by_what_callers_see() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    slow = Outcome(node_id="a", replica="a-0", model="llama", ok=True, writing_s=99.0, completion_tokens=100)
    for sequence in range(2, 8):
        known.outcome(slow)
        known.hear(telling(sequence, {}))
    assert candidate(known).s_per_answer_token == pytest.approx(1.0, rel=0.05), "ten times what it says"
    assert candidate(known).s_per_prompt_token == pytest.approx(0.1, rel=0.05)
    clock.now += 600
    known.hear(telling(9, {}))
    assert candidate(known).s_per_answer_token == pytest.approx(0.1, rel=0.02), "it is tried again"


def test_a_caller_that_sees_it_write_faster_changes_nothing() -> None:
    known = registry(telling(1, {}))
    known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=True, writing_s=0.1, completion_tokens=100))
    known.hear(telling(2, {}))
    assert candidate(known).s_per_answer_token == pytest.approx(0.1)


def test_expired_nodes_take_everything_of_theirs_along() -> None:
    clock = Clock()
    known = registry(node("a"), clock=clock)
    place(known)
    known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="error"))
    clock.now += RegistryRules().expires_s + 1
    known.hear(node("b"))
    assert known.expire() == ("a",)
    snapshot = known.snapshot()
    assert set(snapshot.nodes) == {"b"}
    assert snapshot.serving == {"llama": ("b",)}
    assert set(known._queues) == {"b-0"}
    assert not snapshot.breakers


def test_a_node_that_was_taken_out_takes_everything_of_its_own_along_and_nothing_else() -> None:
    known = registry(node("a"), node("b"))
    known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="error"))
    assert known.forget("a")
    assert not known.forget("a")
    snapshot = known.snapshot()
    assert (set(snapshot.nodes), snapshot.serving) == ({"b"}, {"llama": ("b",)})
    assert set(known._queues) == {"b-0"}
    assert not snapshot.breakers


def test_reports_about_unknown_replicas_are_ignored() -> None:
    known = registry(node("a"))
    for n in range(100):
        known.outcome(Outcome(node_id="x", replica=f"x-{n}", model="llama", ok=False, reason="error"))
    assert not known.snapshot().breakers


def test_a_full_queue_is_no_failure() -> None:
    known = registry(node("a"))
    for _ in range(5):
        known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="refused"))
    assert not known.snapshot().breakers


def test_a_reported_success_closes_the_breaker() -> None:
    known = registry(node("a"))
    for _ in range(3):
        known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="timeout"))
    known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=True))
    assert not known.snapshot().breakers


def test_a_restarted_node_begins_without_the_record_of_its_last_life() -> None:
    known = registry(node("a"))
    place(known)
    for _ in range(3):
        known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="silent"))
    known.hear(node("a", sequence=2))
    assert known.snapshot().breakers, "the same life keeps it"
    known._distrust["a-0", "llama"] = Distrust(9.0, 1000.0)
    known.hear(node("a", boot_id="again"))
    assert not known._distrust
    assert not known.snapshot().breakers
    assert not candidate(known).queue.sent


def test_a_replica_that_comes_back_begins_anew() -> None:
    known = registry(node("a"))
    for _ in range(3):
        known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="silent"))
    known.hear(node("a", sequence=2, replicas=()))
    known.hear(node("a", sequence=3))
    assert not known.snapshot().breakers


def test_nodes_beyond_the_bound_are_not_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.scheduler.registry.KNOWN_NODES", 2)
    known = registry(node("a"), node("b"))
    assert not known.hear(node("c"))
    assert known.hear(node("a", sequence=2))


def test_nodes_are_listed_with_the_reason_why_not() -> None:
    clock = Clock()
    known = registry(node("quiet"), clock=clock)
    clock.now += 5
    known.hear(node("fine"))
    known.hear(node("leaving", draining=True))
    known.hear(node("broken"))
    for _ in range(3):
        known.outcome(Outcome(node_id="broken", replica="broken-0", model="llama", ok=False, reason="error"))
    listed = [listing.node(t, known.snapshot(), clock.now) for t in known.telemetry()]
    assert {n.telemetry.node_id: (n.available, n.reason) for n in listed} == {
        "quiet": (False, "silent"),
        "fine": (True, "ok"),
        "leaving": (False, "draining"),
        "broken": (False, "breaker_open"),
    }
    assert {n.breaker for n in listed if n.telemetry.node_id == "broken"} == {"open"}


def test_models_are_those_of_living_nodes_once_by_name() -> None:
    clock = Clock()
    known = registry(node("gone", models=[model("old")]), clock=clock)
    clock.now += 5
    served = [model("extractive"), model("llama"), model("minilm", kind="embed")]
    known.hear(node("a", models=served))
    known.hear(node("b", models=served))
    found = listing.models(known.snapshot(), clock.now, roles=NOBODY)
    assert [m.name for m in found.models] == ["extractive", "llama", "minilm"]
    assert (found.default_chat, found.default_embed) == ("llama", "minilm")


def test_a_changed_offer_is_seen_at_once() -> None:
    known = registry(node("a"))
    known.hear(node("a", sequence=2, models=[model("qwen")]))
    assert set(known.snapshot().serving) == {"qwen"}
    assert known.snapshot().nodes["a"].replicas[0] is not None


def test_draining_is_known_before_the_next_telemetry() -> None:
    known = registry(node("a", replicas=(Replica(replica="a-0", models=("llama",)),)))
    known.set_draining("a", True)
    assert known.snapshot().nodes["a"].draining
    assert known.telemetry()[0].draining


def ended(known: Registry, ticket: Ticket | None, *, ok: bool | None = True) -> None:
    known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=ok, ticket=ticket))


def test_a_request_whose_end_is_told_is_no_longer_ahead() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    first, second = place(known), place(known)
    clock.now += 3
    ended(known, first)
    assert candidate(known).load == 1
    assert candidate(known).free_at == pytest.approx(1003.0 + 6.0), "the second begins now: 100 tokens, 50 to write"
    clock.now += 1
    ended(known, second)
    assert (candidate(known).load, candidate(known).free_at <= clock.now) == (0, True)


def test_dropping_the_words_of_ends_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "_ended", lambda *_: None)
    for check in (
        test_a_request_whose_end_is_told_is_no_longer_ahead,
        test_a_request_that_takes_longer_than_expected_stays_ahead_until_its_end_is_told,
    ):
        with pytest.raises(AssertionError):
            check()


def test_a_request_that_takes_longer_than_expected_stays_ahead_until_its_end_is_told() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    ticket = place(known)
    clock.now += 1000
    assert candidate(known).least > 0, "of the time alone the node would be free"
    assert wait_s(candidate(known), Ask(clock.now, 100, 256)) > 0
    ended(known, ticket, ok=None)
    assert wait_s(candidate(known), Ask(clock.now, 100, 256)) == 0


def test_an_end_that_nobody_told_shows_in_the_telemetry() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    ticket = place(known)
    clock.now += 30
    known.hear(telling(2, {known.scheduler: ticket.number}))
    assert (candidate(known).load, candidate(known).least) == (0, 0.0)
    assert not candidate(known).queue.under_way.requests


def test_ends_are_not_relied_on_where_a_replica_has_requests_of_others() -> None:
    known = registry(telling(1, {}, in_flight=2, read=300))
    ticket = place(known)
    assert (candidate(known).load, candidate(known).least) == (3, 0.0)
    ended(known, ticket)
    assert candidate(known).load == 2


def test_an_end_that_says_nothing_of_the_replica_leaves_its_breaker_alone() -> None:
    known = registry(telling(1, {}))
    for _ in range(5):
        known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="silent"))
    before = dict(known.snapshot().breakers)
    ended(known, place(known), ok=None)
    assert before
    assert dict(known.snapshot().breakers).keys() == before.keys()


def test_an_end_told_before_telemetry_is_not_counted_twice() -> None:
    clock = Clock()
    known = registry(telling(1, {}), clock=clock)
    first, second = place(known), place(known)
    clock.now += 5
    ended(known, first)
    known.hear(telling(2, {known.scheduler: second.number}, in_flight=2, read=100))
    assert candidate(known).load == 1, "telemetry from before the end counts it still"
