"""The registry keeps the newest word of each node, and forgets what is gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.scheduling import Outcome
from libs.shared.contracts.telemetry import Replica
from libs.shared.roles import NOBODY
from services.scheduler import listing
from services.scheduler.registry import DISPATCHES, RETIRED_BOOTS, RegistryRules
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


def test_telemetry_takes_over_what_was_dispatched_before_it() -> None:
    clock = Clock()
    known = registry(node("a"), clock=clock)
    known.dispatched("a-0", "llama", 100)
    clock.now += 1
    known.dispatched("a-0", "llama", 50)
    known.hear(node("a", sequence=2, in_flight=1))
    sent = known.snapshot().dispatched["a-0"]
    assert (len(sent.sent), sent.tokens) == (1, 50), "the second is too young to be in the snapshot"


def test_dispatches_to_a_node_that_never_speaks_are_bounded() -> None:
    known = registry(node("a"))
    for _ in range(DISPATCHES + 10):
        known.dispatched("a-0", "llama", 3)
    sent = known.snapshot().dispatched["a-0"]
    assert (len(sent.sent), sent.tokens) == (DISPATCHES, 3 * DISPATCHES)


def test_expired_nodes_take_everything_of_theirs_along() -> None:
    clock = Clock()
    known = registry(node("a"), clock=clock)
    known.dispatched("a-0", "llama", 1)
    known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="error"))
    clock.now += RegistryRules().expires_s + 1
    known.hear(node("b"))
    assert known.expire() == ("a",)
    snapshot = known.snapshot()
    assert set(snapshot.nodes) == {"b"}
    assert snapshot.serving == {"llama": ("b",)}
    assert not snapshot.dispatched
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
    known.dispatched("a-0", "llama", 1)
    for _ in range(3):
        known.outcome(Outcome(node_id="a", replica="a-0", model="llama", ok=False, reason="silent"))
    known.hear(node("a", sequence=2))
    assert known.snapshot().breakers, "the same life keeps it"
    known.hear(node("a", boot_id="again"))
    assert not known.snapshot().breakers
    assert not known.snapshot().dispatched


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
