"""Policies: what each takes, and how the expected completion is reckoned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.scheduling import PlaceRequest
from libs.shared.contracts.telemetry import Rates, Replica, ServedModel
from services.scheduler.affinity import Warm
from services.scheduler.candidates import Candidate
from services.scheduler.policies import (
    Ask,
    completions_s,
    costs,
    expected_completion,
    first_token_s,
    least_in_flight,
    power_of_two,
    wait_s,
)
from services.scheduler.registry import Registry
from tests.unit.scheduler.clusters import model, node, registry

NOW = 1000.0
FAST = Rates(prompt_tokens_per_s=1000.0, generated_tokens_per_s=100.0, answer_tokens=100.0)
SLOW = Rates(prompt_tokens_per_s=20.0, generated_tokens_per_s=2.0, answer_tokens=100.0)


def ask(prompt_tokens: int = 200, max_tokens: int = 200, warm: Warm | None = None) -> Ask:
    return Ask(NOW, prompt_tokens, max_tokens, warm)


def replica(name: str, **fields: Any) -> Replica:
    return Replica(replica=name, models=("llama",), **fields)


def served(rates: Rates, **fields: Any) -> ServedModel:
    return model(rates=rates, **fields)


def candidates(known: Registry) -> list[Candidate]:
    return list(known.snapshot().candidates["llama"])


def test_a_fast_busy_node_ends_sooner_than_a_slow_idle_one() -> None:
    busy = replica("fast-0", in_flight=1, to_read_tokens=200, to_write_tokens=100)
    known = registry(node("fast", models=[served(FAST)], replicas=(busy,)), node("slow", models=[served(SLOW)]))
    fast, slow = candidates(known)
    assert completions_s([fast, slow], ask()) == pytest.approx([0.2 + 1.0 + 0.2 + 1.0, 10.0 + 50.0])
    assert expected_completion([fast, slow], ask(), 0.5) is fast
    assert least_in_flight([fast, slow], ask(), 0.5) is slow


def test_what_stops_as_soon_as_a_request_comes_sends_none_elsewhere() -> None:
    """A scheduler that counts it takes the node without."""
    reads = replica("fast-0", in_flight=1, background=1, to_read_tokens=0, to_write_tokens=0)
    known = registry(node("fast", models=[served(FAST)], replicas=(reads,)), node("slow", models=[served(SLOW)]))
    fast, slow = candidates(known)
    assert fast.load == 0
    assert completions_s([fast], ask()) == pytest.approx([0.2 + 1.0])
    for policy in (least_in_flight, power_of_two):
        assert policy([fast, slow], ask(), 0.0) is fast
    known.dispatched(fast, PlaceRequest())
    for policy in (least_in_flight, power_of_two):
        assert policy([fast, slow], ask(), 0.0) is slow


def test_what_somebody_waits_for_holds_others_up_beside_what_stops() -> None:
    both = replica("fast-0", in_flight=1, queued=1, background=1, to_read_tokens=200, to_write_tokens=100)
    (fast,) = candidates(registry(node("fast", models=[served(FAST)], replicas=(both,))))
    assert completions_s([fast], ask()) == pytest.approx([0.2 + 1.0 + 0.2 + 1.0])


def test_the_first_token_is_expected_once_a_slot_is_free_and_the_prompt_is_read() -> None:
    busy = replica("fast-0", in_flight=1, to_read_tokens=200, to_write_tokens=100)
    known = registry(node("fast", models=[served(FAST)], replicas=(busy,)), node("slow", models=[served(SLOW)]))
    assert [first_token_s(c, ask()) for c in candidates(known)] == pytest.approx([0.2 + 1.0 + 0.2, 10.0])


def test_an_answer_is_expected_to_be_as_long_as_the_others_were_or_as_it_may_be() -> None:
    (fast,) = candidates(registry(node("fast", models=[served(FAST)])))
    assert completions_s([fast], ask(0, max_tokens=1000)) == pytest.approx([1.0])
    assert completions_s([fast], ask(0, max_tokens=10)) == pytest.approx([0.1])


def test_while_a_slot_is_free_nothing_is_waited_for() -> None:
    wide = replica("fast-0", in_flight=1, to_read_tokens=0, to_write_tokens=100, slots=2)
    known = registry(node("fast", models=[served(FAST)], replicas=(wide,)))
    (fast,) = candidates(known)
    assert completions_s([fast], ask(0)) == pytest.approx([1.0])
    known.dispatched(fast, PlaceRequest(prompt_tokens=0, max_tokens=100))
    assert completions_s([fast], ask(0)) == pytest.approx([1.5]), (
        "one of two that have a second of both slots, and its own"
    )


def test_the_cost_is_the_wait_the_work_and_what_later_requests_lose() -> None:
    busy = replica("fast-0", in_flight=3, to_read_tokens=0, to_write_tokens=300, slots=2)
    (fast,) = candidates(registry(node("fast", models=[served(FAST)], replicas=(busy,))))
    usual_s = 500 / 1000 + 200 / 100
    ahead_s, own_s = 300 / 100 / 2, 1.0
    waited_s = ahead_s * (3 - 2 + 1) / 3
    later_s = own_s * (2 * ahead_s + own_s / 2) / usual_s
    assert costs([fast], ask(0)) == pytest.approx([waited_s + own_s + later_s])
    assert wait_s(fast, ask(0)) == pytest.approx(waited_s)


def test_work_that_was_told_of_gets_less_without_being_told_again() -> None:
    busy = replica("fast-0", in_flight=1, to_read_tokens=0, to_write_tokens=100)
    (fast,) = candidates(registry(node("fast", models=[served(FAST)], replicas=(busy,))))
    later = [completions_s([fast], Ask(NOW + s, 0, 100))[0] for s in (0.0, 0.4, 1.0, 5.0)]
    assert later == pytest.approx([2.0, 1.6, 1.0, 1.0])


@pytest.mark.parametrize(("temperature_c", "slower"), [(60.0, 1.0), (75.0, 1.0), (80.0, 1.5), (85.0, 2.0), (99.0, 2.0)])
def test_heat_counts_as_slowness(temperature_c: float, slower: float) -> None:
    known = registry(node("hot", temperature_c=temperature_c), node("cool"), node("throttled", throttled=True))
    cool, hot, throttled = completions_s(candidates(known), ask())
    assert hot == pytest.approx(slower * cool)
    assert throttled == pytest.approx(2 * cool)


def test_a_node_on_its_battery_is_spared_until_the_others_have_as_much_again_to_do() -> None:
    known = registry(node("laptop", power_source="battery"), node("plugged", power_source="board"))
    laptop, plugged = candidates(known)
    assert {expected_completion([laptop, plugged], ask(), draw / 10) for draw in range(10)} == {plugged}
    assert completions_s([laptop], ask()) == completions_s([plugged], ask()), "what is told stays true"
    given = 0
    while expected_completion([laptop, plugged], ask(), 0.0) is plugged:
        known.dispatched(plugged, PlaceRequest(model="llama", prompt_tokens=500, max_tokens=200))
        given += 1
        laptop, plugged = candidates(known)
        assert given < 10, "it is spared, not kept out"
    assert given >= 1


def test_a_session_goes_back_to_the_node_that_has_read_it_where_that_pays() -> None:
    caching = served(FAST, caches_prefix=True)
    known = registry(node("a", models=[caching]), node("b", models=[caching]))
    a, b = candidates(known)
    request = PlaceRequest(model="llama", session="ada", prompt_tokens=5000, max_tokens=100)
    known.dispatched(b, request)
    warm = known.snapshot().warm.get("ada")
    assert warm == Warm("b-0", 5100)
    later = Ask(NOW + 60, 5200, 100, warm)
    assert expected_completion([a, b], later, 0.0) is b
    assert completions_s([a, b], later) == pytest.approx([6.2, 1.1])
    assert wait_s(b, later) == 0
    known.dispatched(b, PlaceRequest(model="llama", session="grace", prompt_tokens=5000))
    assert known.snapshot().warm.get("ada") is None, "one slot keeps one session"


def test_a_session_counts_as_read_as_far_as_its_next_prompt_begins_the_same() -> None:
    known = registry(node("a", models=[served(FAST, caches_prefix=True)]))
    (a,) = candidates(known)
    lasting = PlaceRequest(model="llama", session="ada", prompt_tokens=5000, max_tokens=100, lasting_tokens=4000)
    known.dispatched(a, lasting)
    assert known.snapshot().warm.get("ada") == Warm("a-0", 4000)


def test_a_fast_node_is_not_filled_up_while_a_slow_one_would_do() -> None:
    """Greed would wait 2 s at the fast one for an end at 3 s, and leave the one that ends at 3.2 s idle."""
    fast, slow = Rates(prompt_tokens_per_s=1e9, generated_tokens_per_s=100.0), Rates(prompt_tokens_per_s=1e9)
    slow = slow.model_copy(update={"generated_tokens_per_s": 31.0, "answer_tokens": 100.0})
    fast = fast.model_copy(update={"answer_tokens": 100.0})
    busy = replica("fast-0", in_flight=2, to_read_tokens=0, to_write_tokens=200)
    found = candidates(
        registry(node("fast", models=[served(fast)], replicas=(busy,)), node("slow", models=[served(slow)]))
    )
    times = completions_s(found, ask(0, 100))
    assert times[0] < times[1]
    assert expected_completion(found, ask(0, 100), 0.5) is found[1]


def test_leaving_out_the_later_ones_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(found: list[Candidate], asked: Ask, draw: float) -> Candidate:
        times = completions_s(found, asked)
        return found[times.index(min(times))]

    monkeypatch.setitem(globals(), "expected_completion", greedy)
    with pytest.raises(AssertionError):
        test_a_fast_node_is_not_filled_up_while_a_slow_one_would_do()


def test_equals_share_the_load_by_the_draw() -> None:
    three = candidates(registry(node("a"), node("b"), node("c")))
    assert [expected_completion(three, ask(), draw) for draw in (0.0, 0.4, 0.99)] == three


@given(st.integers(1, 12), st.floats(0, 1, exclude_max=True))
def test_power_of_two_compares_two_different_ones(count: int, draw: float) -> None:
    found = candidates(registry(*(node(f"n{i:02}", in_flight=i) for i in range(count))))
    taken = power_of_two(found, ask(), draw)
    assert count == 1 or taken is not found[-1], "the most loaded of all loses against any other"


loads = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 900), st.integers(1, 4)), min_size=1, max_size=8)


@given(loads, st.integers(0, 2000), st.integers(1, 500), st.sampled_from((None, "ada")))
def test_the_least_cost_is_taken_whatever_the_loads(
    told: list[tuple[int, int, int]], prompt: int, most: int, adapter: str | None
) -> None:
    """One node in three has the adapter in memory; the others load it for one second, or two …"""
    queues = [
        {"in_flight": n, "to_read_tokens": 0, "to_write_tokens": tokens, "slots": slots} for n, tokens, slots in told
    ]
    nodes = [
        node(
            f"n{i}",
            models=[served(FAST if i % 2 else SLOW, adapters=("ada",), adapter_load_s=float(i))],
            replicas=(replica(f"n{i}-0", adapters=() if i % 3 else ("llama:ada",), **queue),),
        )
        for i, queue in enumerate(queues)
    ]
    asked = ask(prompt, most)._replace(adapter=adapter)
    found = candidates(registry(*nodes))
    times = completions_s(found, asked)
    price = costs(found, asked)
    assert price[found.index(expected_completion(found, asked, 0.3))] == min(price)
    assert all(cost >= t for cost, t in zip(price, times, strict=True)), "nobody gains by another's coming before"
    assert all(wait_s(c, asked) <= t for c, t in zip(found, times, strict=True))
