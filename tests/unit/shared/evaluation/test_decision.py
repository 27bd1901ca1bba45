"""What changed nothing is refused as often as is said, what is better is accepted, what is worse anywhere isn't."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from libs.shared.evaluation import bootstrap
from libs.shared.evaluation.bootstrap import Comparison, Totals, compare_means
from libs.shared.evaluation.decision import Verdict, decide

TRIALS = 400
MOST_BY_CHANCE = 19
"""Of 400 trials 10 are accepted by right; three standard deviations more are 19."""


def compared(gains: np.ndarray, *, metric: str = "m", seed: int = 0) -> Comparison:
    """One value a conversation."""
    ones = np.ones(len(gains))
    before, after = Totals(ones, ones), Totals(ones + gains, ones)
    return compare_means(metric, before, after, better="higher", seed=seed, resamples=1000)


def figures(low: float, high: float, metric: str = "recall", units: int = 20) -> Comparison:
    """With those bounds."""
    gain = (low + high) / 2
    return Comparison(metric, "higher", 0.5, 0.5 + gain, gain, low, high, units, "conversations")


def accepted_by_chance(decision: Callable[[Comparison], Verdict], units: int) -> int:
    """Of trainings that changed nothing but by chance."""
    draw = np.random.default_rng(units)
    return sum(decision(compared(draw.normal(0.0, 1.0, units), seed=trial)).accepted for trial in range(TRIALS))


@pytest.mark.parametrize("units", [5, 20])
def test_what_changed_nothing_is_refused_but_for_one_in_forty(units: int) -> None:
    assert accepted_by_chance(decide, units) <= MOST_BY_CHANCE


def test_differences_that_lean_are_accepted_by_chance_in_one_of_twenty_at_the_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most conversations gain a little, a few lose much. Of 400 trials 20 are allowed; three deviations more are 33."""

    def by_chance() -> int:
        draw = np.random.default_rng(5)
        leaning = (1.0 - draw.exponential(1.0, 5) for _ in range(TRIALS))
        return sum(decide(compared(gains, seed=trial)).accepted for trial, gains in enumerate(leaning))

    assert by_chance() <= 33
    # The mutation: without the bound that lies further out for few units.
    monkeypatch.setattr(bootstrap, "LEANING", 0.0)
    assert by_chance() > 33


def test_what_must_improve_beside_the_primary_decides_likewise() -> None:
    good, noise, bad = figures(0.1, 0.2), figures(-0.1, 0.2, "against granite"), figures(-0.3, -0.1, "against granite")
    assert decide(good, also=[figures(0.1, 0.3, "b")]).accepted
    for other, why in ((noise, "within_noise"), (bad, "worse")):
        verdict = decide(good, also=[other])
        assert (verdict.accepted, verdict.why) == (False, why)
        assert "against granite" in verdict.reason


def test_a_loss_that_is_tolerated_stops_nothing() -> None:
    little = dataclasses.replace(figures(-0.09, -0.01, "text"), tolerated=0.1)
    much = dataclasses.replace(figures(-0.3, -0.2, "text"), tolerated=0.1)
    assert decide(figures(0.1, 0.2), [little]).accepted
    assert decide(figures(0.1, 0.2), [much]).why == "another_worse"


def test_a_decision_that_ignores_the_interval_would_be_noticed() -> None:
    """A mutation of the test above: whoever looks at the gain alone accepts every other one."""

    def hasty(primary: Comparison) -> Verdict:
        return decide(dataclasses.replace(primary, low=primary.gain, high=primary.gain))

    assert accepted_by_chance(hasty, 20) > 4 * MOST_BY_CHANCE


def test_a_clear_difference_is_accepted_and_the_other_way_refused() -> None:
    draw = np.random.default_rng(0)
    for trial in range(50):
        gains = draw.normal(2.0, 1.0, 20)
        assert decide(compared(gains, seed=trial)).why == "better"
        assert decide(compared(-gains, seed=trial)).why == "worse"


@pytest.mark.parametrize(
    ("primary", "others", "why"),
    [
        (figures(0.01, 0.2), [], "better"),
        (figures(0.0, 0.2), [], "within_noise"),
        (figures(-0.1, 0.2), [], "within_noise"),
        (figures(-0.2, 0.0), [], "within_noise"),
        (figures(-0.2, -0.01), [], "worse"),
        (figures(0.01, 0.2), [figures(-0.2, 0.1, "sts")], "better"),
        (figures(0.01, 0.2), [figures(-0.2, -0.1, "sts")], "another_worse"),
        (figures(-0.1, 0.2), [figures(0.1, 0.2, "sts")], "within_noise"),
        (figures(0.01, 0.2, units=4), [], "too_few"),
        (figures(0.01, 0.2), [figures(0.1, 0.2, "sts", units=4)], "too_few"),
        (figures(math.nan, math.nan), [], "not_measured"),
        (dataclasses.replace(figures(0.1, 0.2), after=math.inf), [], "not_measured"),
    ],
)
def test_the_rule_is_the_stated_one(primary: Comparison, others: list[Comparison], why: str) -> None:
    verdict = decide(primary, others)
    assert (verdict.why, verdict.accepted) == (why, why == "better")
    assert verdict.reason.startswith("accepted: " if verdict.accepted else "refused: ")


def test_the_order_of_other_metrics_means_nothing() -> None:
    others = [figures(-0.2, -0.1, "a"), figures(-0.3, -0.2, "b"), figures(0.1, 0.2, "c")]
    verdicts = {decide(figures(0.1, 0.2), order) for order in itertools.permutations(others)}
    assert len(verdicts) == 1


def test_a_reason_has_the_numbers_it_rests_on() -> None:
    verdict = decide(figures(-0.3, 0.1, "retrieval recall"))
    assert verdict.reason == (
        "refused: retrieval recall went from 0.5 to 0.4 over 20 conversations (worse by 0.1, 95% interval -0.1 to 0.3),"
        " which may be chance"
    )
    few = decide(figures(0.1, 0.2, "retrieval recall", units=3))
    assert "measured on 3 conversations, and below 5 nothing can be told from chance; rate or allow more" in few.reason
