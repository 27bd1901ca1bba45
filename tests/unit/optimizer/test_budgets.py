"""Budgets of a prompt: proposed where held-out conversations bear them out, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from libs.shared.contracts.sleep import Tried
from services.cognition.fence import FENCE_CLOSE, FENCE_OPEN
from services.cognition.prompt import MESSAGE_TOKENS
from services.cognition.selection import BYTES_PER_TOKEN
from services.optimizer.phases import deep
from services.optimizer.phases.deep import BUDGETS
from services.optimizer.replay import parting
from services.optimizer.replay.held import Held, held, parted
from services.optimizer.replay.scoring import FENCE_TOKENS, LINE_TOKENS, fitting, replay
from services.optimizer.tuning import budgets
from services.optimizer.tuning.budgets import CHOICES, Budgeted, Weighed, tune_budget, tune_budgets, weighed
from tests.unit.optimizer.asked import asked, evidence
from tests.unit.optimizer.nights import night

GOOD = RuntimeSettings(recall_weights=RecallWeights(terms=2.0, meaning=0.0, length=0.0, importance=0.0))
ROOM = 1000


def tuned(key: str, given: Sequence[Evidence], settings: RuntimeSettings, *offered: object) -> Budgeted:
    resting, everything = parted(given), parted(given, resting=False)
    tuning, held_out = (weighed(*side, settings, key) for side in zip(resting, everything, strict=True))
    return tune_budget(tuning, held_out, settings, key, offered)


def speaking(count: int, right: float, wrong: float) -> list[Evidence]:
    """What an answer rested on has ``right`` speaking for it, all else ``wrong``; every third rests on none."""
    made = []
    for number, one in enumerate(asked(count)):
        speaks = tuple(right if place in one.relevant else wrong for place in range(len(one.evidence)))
        none = {"relevant": (), "evidence": (wrong,) * len(speaks)} if number % 3 == 0 else {}
        made.append(one.model_copy(update={"evidence": speaks, **none}))
    return made


def test_fewer_memories_in_the_prompt_are_proposed_where_nothing_is_lost() -> None:
    many = GOOD.model_copy(update={"recall_k": 20})
    told = tuned("recall_k", asked(300), many)
    assert told.value is not None
    assert told.value < 20
    by_name = {one.measure: one for one in told.measured}
    assert by_name["prompt_tokens"].after < by_name["prompt_tokens"].before
    assert by_name["evidence_in_prompt"].low >= -0.02
    assert tuned("recall_k", asked(300), GOOD.model_copy(update={"recall_k": told.value})).value is None


def test_what_needs_less_evidence_is_asked_for_more_where_that_saves_tokens() -> None:
    told = tuned("recall_min_score", speaking(300, 0.7, 0.3), GOOD.model_copy(update={"recall_min_score": 0.1}))
    assert 0.3 < told.value <= 0.7
    tokens = next(one for one in told.measured if one.measure == "prompt_tokens")
    assert tokens.after < tokens.before / 4


def test_too_much_evidence_asked_for_is_told_by_what_is_no_longer_found() -> None:
    told = tuned("recall_min_score", speaking(300, 0.6, 0.2), GOOD.model_copy(update={"recall_min_score": 0.8}))
    assert 0.2 < told.value <= 0.6, "lower would bring what no question needs"


def check_questions_resting_on_nothing_are_weighed() -> None:
    """Every second question rests on none, and what stands in its prompt speaks as much as what answers the others."""
    given = [one.model_copy(update={"relevant": ()}) if n % 2 else one for n, one in enumerate(speaking(400, 0.5, 0.5))]
    side = parted(given)[0], parted(given, resting=False)[0]
    one = weighed(*side, GOOD, "recall_min_score")
    costs = one.worth(GOOD)[[not e.relevant for e in one.all.evidence]]
    assert len(costs)
    assert all(costs < 0)


def test_questions_resting_on_nothing_are_weighed() -> None:
    check_questions_resting_on_nothing_are_weighed()


def test_the_check_notices_that_only_resting_questions_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "OF_ALL", frozenset())
    with pytest.raises(AssertionError):
        check_questions_resting_on_nothing_are_weighed()


def with_room(given: Sequence[Evidence]) -> list[Evidence]:
    return [one.model_copy(update={"room_tokens": ROOM}) for one in given]


def test_memories_get_more_room_where_they_had_too_little() -> None:
    starved = GOOD.model_copy(update={"prompt_memory_share": 0.05})
    told = tuned("prompt_memory_share", with_room(asked(300)), starved)
    assert told.value > 0.05
    found = next(one for one in told.measured if one.measure == "evidence_in_prompt")
    assert found.low > 0


def test_a_share_that_nothing_hangs_on_stays() -> None:
    assert tuned("prompt_memory_share", asked(300), GOOD).value is None


def misleading(count: int) -> list[Evidence]:
    """Where it is tuned what answers speaks little for itself, and where it is judged much more than the rest."""
    low, high = speaking(count, 0.2, 0.1), speaking(count, 0.8, 0.3)
    aside = [parting.aside(one, parting.SALT, parting.HELD_OUT) for one in low]
    return [high[place] if out else low[place] for place, out in enumerate(aside)]


def check_what_helps_only_where_it_was_tuned_is_not_proposed() -> None:
    assert tuned("recall_min_score", misleading(300), GOOD).value is None


def test_what_helps_only_where_it_was_tuned_is_not_proposed() -> None:
    check_what_helps_only_where_it_was_tuned_is_not_proposed()


def test_the_check_notices_that_the_search_s_own_questions_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = budgets._decided
    tuning = parted(misleading(300))[0], parted(misleading(300), resting=False)[0]

    def on_what_was_seen(_: Weighed, settings: RuntimeSettings, key: str, value: float) -> Budgeted:
        return honest(weighed(*tuning, settings, key), settings, key, value)

    monkeypatch.setattr(budgets, "_decided", on_what_was_seen)
    with pytest.raises(AssertionError):
        check_what_helps_only_where_it_was_tuned_is_not_proposed()


def test_what_another_node_kept_is_measured_like_any_other() -> None:
    given, settings = speaking(300, 0.57, 0.56), GOOD.model_copy(update={"recall_min_score": 0.1})
    assert tuned("recall_min_score", given, settings).value is None, "no value of the list lies in between"
    told = tuned("recall_min_score", given, settings, 0.565, 7.0, "all", None)
    assert told.value == 0.565
    assert tuned("recall_min_score", given, settings, 0.7).value is None, "a claim alone changes nothing"


def test_one_budget_changes_a_night() -> None:
    bad = GOOD.model_copy(update={"recall_k": 20, "prompt_memory_share": 0.05})
    told = tune_budgets(with_room(asked(300)), bad)
    assert [one.key for one in told] == list(CHOICES) == list(BUDGETS)
    assert sum(one.value is not None for one in told) == 1
    assert told[-1].reason == "another night" or told[-1].value is not None


def test_memories_fit_as_far_as_their_share_of_the_room_goes() -> None:
    one = evidence(0, {"terms": [1.0, 0.9, 0.8]}).model_copy(update={"tokens": (40, 60, 40), "room_tokens": 1000})
    free = 200 - FENCE_TOKENS
    assert fitting(one, (0, 1, 2), 0.2) == {0: 40, 1: free // 2 - LINE_TOKENS}
    assert fitting(one, (0, 1, 2), 0.05) == {}
    assert fitting(one.model_copy(update={"room_tokens": 0}), (0, 1), 0.0) == {0: 40, 1: 60}


def test_the_words_around_memories_take_what_is_reckoned() -> None:
    words = f"Today is 2026-01-01. {FENCE_OPEN}{FENCE_CLOSE}\n\n"
    assert abs(len(words) / BYTES_PER_TOKEN + MESSAGE_TOKENS - FENCE_TOKENS) < 1
    assert abs(len("- 2026-01-01, the assistant: \n") / BYTES_PER_TOKEN - LINE_TOKENS) < 1


def test_a_question_that_rests_on_nothing_counts_by_its_tokens_alone() -> None:
    scores = replay(held([evidence(0, {"terms": [1.0]}, relevant=())], resting=False), RuntimeSettings())
    assert (scores.evidence[0], scores.in_prompt[0], scores.prompt_tokens[0]) == (0.0, 0.0, 10.0)
    nothing: Held = held([evidence(0, {"terms": [1.0]}, relevant=())])
    assert len(nothing) == 0


async def test_a_night_proposes_a_budget_and_measures_what_another_node_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep, "POINTS", 20)
    settings = GOOD.model_copy(update={"recall_min_score": 0.1, "recall_k": 6})
    others = (Tried(key="recall_min_score", value=0.565, proposed=True), Tried(key="recall_k", value=99, proposed=True))
    async with night(tmp_path, speaking(300, 0.57, 0.56), settings, others=others) as (work, around):
        report = await deep.propose(work)
    change = next(one for one in around.proposed if one.key == "recall_min_score")
    assert change.value == 0.565
    assert "recall_min_score 0.1 → 0.565" in change.reason
    assert report.figures["asked"] == 300
    assert report.figures["questions"] == 200
    assert not {one.key for one in around.proposed} & {"recall_k", "prompt_memory_share"}, "one budget a night"
