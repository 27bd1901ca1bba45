"""A change of a setting is evaluated on held-out questions, whoever proposed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from libs.shared.errors import InvalidRequest
from services.optimizer.replay import evaluating, judging
from services.optimizer.replay.evaluating import Evaluated, ReplayEvaluation, changed
from services.optimizer.replay.held import parted
from services.optimizer.replay.parting import share_of
from tests.unit.optimizer.asked import asked

GOOD = RuntimeSettings(recall_weights=RecallWeights(terms=2.0, meaning=0.0, length=0.0, importance=0.0))
ZEROED = dict.fromkeys(RecallWeights.model_fields, 0.0)


class Reading:
    """What may be replayed, and how often that was asked."""

    def __init__(self, evidence: Sequence[Evidence]) -> None:
        self.evidence = evidence
        self.times = 0

    async def __call__(self) -> Sequence[Evidence]:
        self.times += 1
        return self.evidence


async def evaluated(key: str, value: Any, count: int = 200) -> Evaluated:
    return await ReplayEvaluation(Reading(asked(count))).evaluate(key, value, GOOD)


async def check_zeroed_weights_are_worse_beyond_noise() -> None:
    told = await evaluated("recall_weights", ZEROED)
    assert told.accepted is False
    assert told.worse
    (recall,) = [one for one in told.measured if one.measure == "recall"]
    assert recall.high < 0 <= recall.before


async def test_zeroed_weights_are_worse_beyond_noise() -> None:
    await check_zeroed_weights_are_worse_beyond_noise()


async def test_the_check_notices_that_before_is_compared_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = judging.judge
    monkeypatch.setattr(evaluating, "judge", lambda held, before, _, primary: honest(held, before, before, primary))
    with pytest.raises(AssertionError):
        await check_zeroed_weights_are_worse_beyond_noise()


async def test_the_same_weights_are_neither_better_nor_worse() -> None:
    told = await evaluated("recall_weights", GOOD.recall_weights.model_dump())
    assert (told.accepted, told.worse) == (False, False)


async def test_better_weights_are_accepted() -> None:
    reading = Reading(asked(200))
    bad = RuntimeSettings(recall_weights=RecallWeights(terms=0.0, episode_terms=0.0, length=1.5))
    told = await ReplayEvaluation(reading).evaluate("recall_weights", GOOD.recall_weights.model_dump(), bad)
    assert told.accepted is True
    assert await ReplayEvaluation(reading)("recall_weights", GOOD.recall_weights.model_dump(), bad) == told.measured


async def test_no_memories_in_the_prompt_are_worse_beyond_noise() -> None:
    told = await evaluated("recall_k", 0)
    assert (told.accepted, told.worse) == (False, True)


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
async def test_a_value_out_of_bounds_is_refused_before_anything_is_read(key: str, value: Any) -> None:
    reading = Reading(asked(10))
    with pytest.raises(InvalidRequest):
        await ReplayEvaluation(reading).evaluate(key, value, GOOD)
    assert reading.times == 0


async def test_a_replay_says_nothing_of_what_it_cannot_tell() -> None:
    reading = Reading(asked(10))
    told = await ReplayEvaluation(reading).evaluate("hedging", True, GOOD)
    assert (told.accepted, told.measured, reading.times) == (None, (), 0)


async def test_too_few_conversations_tell_nothing() -> None:
    few = [one for one in asked(200) if share_of(one.conversation_id, "held-out") < 0.01]
    told = await ReplayEvaluation(Reading(few)).evaluate("recall_weights", ZEROED, GOOD)
    assert (told.accepted, told.worse) == (None, False)


async def test_only_questions_that_no_search_saw_are_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = asked(200)
    seen: list[str] = []
    honest = judging.judge

    def watching(held: Any, *more: Any) -> Any:
        seen.extend(held.conversations)
        return honest(held, *more)

    monkeypatch.setattr(evaluating, "judge", watching)
    await ReplayEvaluation(Reading(evidence)).evaluate("recall_weights", ZEROED, GOOD)
    tuning, held_out = parted(evidence)
    assert set(seen) == set(held_out.conversations)
    assert not set(seen) & set(tuning.conversations)


def test_settings_are_validated_as_a_whole() -> None:
    weights = changed(GOOD, "recall_weights", {"terms": 0.5}).recall_weights
    assert (weights.terms, weights.meaning) == (0.5, RecallWeights().meaning)
