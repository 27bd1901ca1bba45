"""Hedging's decision and its budget: which requests, after how long, and never more than their share."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import Placement, PlaceRequest
from libs.shared.contracts.telemetry import ServedModel
from services.cognition.hedging import FEWEST, KEPT, LEAST_S, MODELS, Hedge, HedgeBudget, Lateness, decide

ON = RuntimeSettings(hedging=True)
SHORT = PlaceRequest(prompt_tokens=200, max_tokens=100)


def placement(expected_first_s: float | None = 1.0, **model: Any) -> Placement:
    served = ServedModel(name="llama", backend="llama_cpp", context_tokens=2048, **model)
    return Placement(node_id="a", replica="a-0", model=served, policy="first", expected_first_s=expected_first_s)


def test_a_short_request_is_sent_again_once_it_is_later_than_first_tokens_are() -> None:
    assert decide(ON, SHORT, placement(), 1.6, tried=0) == Hedge(1.6, "short")


@pytest.mark.parametrize(
    ("settings", "asked", "placed", "late", "tried", "why"),
    [
        (RuntimeSettings(), SHORT, placement(), 1.6, 0, "off"),
        (ON, SHORT, placement(), 1.6, 1, "tried_again"),
        (ON, SHORT, placement(remote=True), 1.6, 0, "remote"),
        (ON, SHORT.model_copy(update={"needs": ("tools",)}), placement(), 1.6, 0, "tools"),
        (ON, PlaceRequest(prompt_tokens=1025, max_tokens=100), placement(), 1.6, 0, "long_prompt"),
        (ON, PlaceRequest(prompt_tokens=200, max_tokens=513), placement(), 1.6, 0, "long_answer"),
        (ON, SHORT, placement(None), 1.6, 0, "unreckoned"),
        (ON, SHORT, placement(), None, 0, "unmeasured"),
    ],
)
def test_every_other_is_left_where_it_is(
    settings: RuntimeSettings, asked: PlaceRequest, placed: Placement, late: float | None, tried: int, why: str
) -> None:
    assert decide(settings, asked, placed, late, tried=tried) == Hedge(None, why)  # type: ignore[arg-type]


def test_hedging_is_off_unless_it_is_switched_on() -> None:
    assert decide(RuntimeSettings(), SHORT, placement(), 1.6, tried=0).after_s is None


@given(
    prompt=st.integers(0, 4000),
    answer=st.integers(0, 4000),
    expected_s=st.none() | st.floats(0, 1e4),
    late=st.none() | st.floats(0, 1e3),
    tried=st.integers(0, 3),
    on=st.booleans(),
    remote=st.booleans(),
)
def test_only_what_is_short_and_near_and_measured_is_ever_sent_twice(
    prompt: int, answer: int, expected_s: float | None, late: float | None, tried: int, on: bool, remote: bool
) -> None:
    asked = PlaceRequest(prompt_tokens=prompt, max_tokens=answer)
    settings = RuntimeSettings(hedging=on)
    found = decide(settings, asked, placement(expected_s, remote=remote), late, tried=tried)
    may = on and not remote and not tried and expected_s is not None and late is not None
    short = prompt <= settings.hedging_prompt_tokens and answer <= settings.hedging_answer_tokens
    assert (found.after_s is not None) == (may and short) == (found.why == "short")
    assert found.after_s is None or found.after_s >= LEAST_S


@given(st.lists(st.floats(0.001, 1000), min_size=FEWEST, max_size=KEPT))
def test_at_most_a_twentieth_of_first_tokens_is_late(took: list[float]) -> None:
    lateness = Lateness()
    for seconds in took:
        lateness.came("llama", seconds, 1.0)
    factor = lateness.of("llama")
    assert factor is not None
    assert sum(seconds > factor for seconds in took) <= 0.05 * len(took)
    assert factor in took


def test_too_few_first_tokens_say_nothing() -> None:
    lateness = Lateness()
    for _ in range(FEWEST - 1):
        lateness.came("llama", 1.0, 1.0)
    lateness.came("llama", 1.0, None)
    assert lateness.of("llama") is None
    lateness.came("llama", 1.0, 1.0)
    assert lateness.of("llama") == 1.0
    assert lateness.of("another") is None


def test_a_node_that_was_late_long_ago_is_forgotten() -> None:
    lateness = Lateness()
    for _ in range(KEPT):
        lateness.came("llama", 9.0, 1.0)
    for _ in range(KEPT):
        lateness.came("llama", 1.0, 1.0)
    assert lateness.of("llama") == 1.0


def test_models_that_are_measured_are_bounded() -> None:
    lateness = Lateness()
    for number in range(MODELS + 1):
        for _ in range(FEWEST):
            lateness.came(f"m{number}", 1.0, 1.0)
    assert lateness.of("m0") is None
    assert lateness.of(f"m{MODELS}") == 1.0


@given(st.floats(0.01, 0.2), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40))
def test_second_copies_never_are_more_than_their_share(share: float, rounds: list[tuple[int, int]]) -> None:
    budget = HedgeBudget()
    asked = sent = 0
    for requests, late in rounds:
        for _ in range(requests):
            asked += 1
            budget.earn(share)
        sent += sum(budget.spend() for _ in range(late))
    assert sent <= share * asked + 1e-6


def test_one_that_was_not_sent_after_all_does_not_count() -> None:
    budget = HedgeBudget()
    assert not budget.spend()
    for _ in range(20):
        budget.earn(0.05)
    assert budget.spend()
    assert not budget.spend()
    budget.give_back()
    assert budget.spend()
