"""A change of a setting is evaluated on held-out questions, whoever proposed it."""

from __future__ import annotations

from typing import Any

import pytest

from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from libs.shared.errors import InvalidRequest
from services.optimizer.pipeline.evaluating import changed
from services.optimizer.replay import evaluating, exchange, judging
from services.optimizer.replay.evaluating import evaluated
from services.optimizer.replay.exchange import Evaluated
from services.optimizer.replay.held import parted
from services.optimizer.replay.parting import share_of
from tests.unit.optimizer.asked import asked

GOOD = RuntimeSettings(recall_weights=RecallWeights(terms=2.0, meaning=0.0, length=0.0, importance=0.0))
ZEROED = dict.fromkeys(RecallWeights.model_fields, 0.0)


def told(key: str, value: Any, count: int = 200, settings: RuntimeSettings = GOOD) -> Evaluated:
    return evaluated(asked(count), settings, changed(settings, key, value), key)


def check_zeroed_weights_are_worse_beyond_noise() -> None:
    found = told("recall_weights", ZEROED)
    assert found.accepted is False
    assert found.worse
    (recall,) = [one for one in found.measured if one.measure == "recall"]
    assert recall.high < 0 <= recall.before


def test_zeroed_weights_are_worse_beyond_noise() -> None:
    check_zeroed_weights_are_worse_beyond_noise()


def test_the_check_notices_that_before_is_compared_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = judging.judge
    monkeypatch.setattr(evaluating, "judge", lambda held, before, after: honest(held, before, before))
    with pytest.raises(AssertionError):
        check_zeroed_weights_are_worse_beyond_noise()


def test_what_is_in_force_as_it_is_gains_nothing() -> None:
    found = told("recall_weights", GOOD.recall_weights.model_dump())
    assert (found.accepted, found.worse) == (False, False)
    assert "in force as it is" in found.reason


def test_better_weights_are_accepted() -> None:
    bad = RuntimeSettings(recall_weights=RecallWeights(terms=0.0, episode_terms=0.0, length=1.5))
    found = told("recall_weights", GOOD.recall_weights.model_dump(), settings=bad)
    assert found.accepted is True
    assert {one.measure for one in found.measured} >= {"recall", "evidence_in_prompt"}


@pytest.mark.parametrize(("key", "value"), [("recall_k", 0), ("recall_min_score", 1.0)])
def test_no_memories_in_the_prompt_are_worse_beyond_noise(key: str, value: Any) -> None:
    nothing_speaks = [one.model_copy(update={"evidence": (0.9,) * len(one.evidence)}) for one in asked(200)]
    found = evaluated(nothing_speaks, GOOD, changed(GOOD, key, value), key)
    assert (found.accepted, found.worse) == (False, True)
    assert "evidence_in_prompt" in {one.measure for one in found.measured}


def test_fewer_memories_that_lose_nothing_are_accepted_as_the_phase_that_found_them_would() -> None:
    many = GOOD.model_copy(update={"recall_k": 20})
    assert told("recall_k", 6, 300, many).accepted is True


def test_every_setting_that_a_replay_tells_of_has_a_judge() -> None:
    assert set(evaluating.JUDGES) == exchange.REPLAYABLE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recall_weights", {"terms": -1.0}),
        ("recall_weights", {"terms": float("nan")}),
        ("recall_weights", "all"),
        ("recall_k", 51),
        ("recall_k", -1),
        ("prompt_memory_share", 0.95),
        ("no_such_setting", 1),
    ],
)
def test_a_value_out_of_bounds_is_refused_before_anything_is_measured(key: str, value: Any) -> None:
    with pytest.raises(InvalidRequest):
        changed(GOOD, key, value)


@pytest.mark.parametrize("key", sorted(exchange.REPLAYABLE))
def test_too_few_conversations_tell_nothing(key: str) -> None:
    few = [one for one in asked(200) if share_of(one.conversation_id, "held-out") < 0.01]
    hollow = {"recall_weights": ZEROED, "recall_k": 0, "recall_min_score": 1.0, "prompt_memory_share": 0.0}
    worse = changed(GOOD, key, hollow[key])
    found = evaluated(few, GOOD, worse, key)
    assert (found.accepted, found.worse) == (None, False)
    assert evaluated([], GOOD, worse, key).accepted is None


def test_only_questions_that_no_search_saw_are_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = asked(200)
    seen: list[str] = []
    honest = judging.judge

    def watching(held: Any, *more: Any) -> Any:
        seen.extend(held.conversations)
        return honest(held, *more)

    monkeypatch.setattr(evaluating, "judge", watching)
    told("recall_weights", ZEROED)
    tuning, held_out = parted(evidence)
    assert set(seen) == set(held_out.conversations)
    assert not set(seen) & set(tuning.conversations)


def test_settings_are_validated_as_a_whole() -> None:
    weights = changed(GOOD, "recall_weights", {"terms": 0.5}).recall_weights
    assert (weights.terms, weights.meaning) == (0.5, RecallWeights().meaning)
