"""A replay ranks as cognition does, and parts questions by conversation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.replay import Alike, AskedTurn
from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from libs.shared.recall_sums import NO_PLACE
from services.cognition.question import Question
from services.cognition.recall import Found, rank
from services.cognition.replaying.evidence import as_it_was, evidence_of
from services.cognition.selection import Hit, spread_out
from services.optimizer.replay import scoring
from services.optimizer.replay.held import held, parted
from services.optimizer.replay.parting import share_of
from services.optimizer.replay.scoring import replay, shown
from tests.unit.cognition.evidence import NOW, item, rows
from tests.unit.optimizer.asked import asked, evidence

WEIGHTS = st.builds(
    RecallWeights,
    **{name: st.floats(0, 2) for name in RecallWeights.model_fields if name not in ("asks", "repetition")},
    asks=st.floats(-1, 0.5),
    repetition=st.floats(0, 1),
)
CLOSE = 1e-5
"""Columns travel as float32."""
QUESTIONS = st.sampled_from(
    (
        Question("What is my dog called?", ("dog", "cal"), named=frozenset({"user"}), wants_name=True),
        Question("How many before?", ("many",), wants_number=True, past=True),
        Question("Anything?", ()),
    )
)


def told(found: list[Found]) -> dict[int, MemoryItem]:
    words = ("the dog is called Rex", "the dog is called Rex", "a cat sleeps", "it rains in May")
    return {
        one.ordinal: item(
            f"m{one.ordinal}",
            words[one.ordinal % len(words)],
            superseded_by=None if one.newer == NO_PLACE else f"m{found[one.newer].ordinal}",
        )
        for one in found
    }


@given(rows(), QUESTIONS, WEIGHTS)
def test_a_replay_ranks_as_cognition_does(found: list[Found], question: Question, weights: RecallWeights) -> None:
    check_same_ranking(found, question, weights)


def check_same_ranking(found: list[Found], question: Question, weights: RecallWeights) -> None:
    items = told(found)
    known = as_it_was(found, items, "elsewhere", NOW.timestamp())
    turn = AskedTurn(turn_id="t", user_id="u", conversation_id="here", question="q", answer="a", at=NOW)
    texts = [items[one.ordinal].text for one in known]
    one = evidence_of(turn, question, known, texts, 20.0).model_copy(update={"relevant": (0,) if known else ()})
    if not known:
        return
    one_held = held([one])
    scores = scoring._sums(one_held, weights.model_dump())[0]
    places = sorted(range(len(known)), key=lambda place: (-scores[place], place))
    replayed = [known[place].ordinal for place in shown(one, scores, places, weights.repetition)]
    ranked = [r for r in rank(known, question, weights, NOW.timestamp(), 20.0) if r.score > CLOSE]
    assume(all(one.score == other.score or one.score - other.score > CLOSE for one, other in pairwise(ranked)))
    hits = [Hit(items[r.found.ordinal].model_copy(update={"score": r.score, "parts": r.parts})) for r in ranked]
    shown_there = {hit.item.id: hit.item.score for hit in spread_out(hits, weights.repetition, past=question.past)}
    there = [shown_there[f"m{ordinal}"] for ordinal in replayed if f"m{ordinal}" in shown_there]
    assert len(there) == len(shown_there)
    assert all(before >= after - CLOSE for before, after in pairwise(there))


def test_what_was_told_later_and_in_the_conversation_itself_was_not_known() -> None:
    now = NOW.timestamp()
    found = [
        Found(0, 0, "user", now - 10, 5, 0, 0.0, 1.0, None, uses=3, used_at=now + 5, newer=2),
        Found(1, 0, "user", now - 20, 5, 0, 0.0, 1.0, None, uses=2, used_at=now - 5),
        Found(2, 0, "user", now + 10, 5, 0, 0.0, 1.0, None),
        Found(3, 0, "user", now - 30, 5, 0, 0.0, 1.0, None),
    ]
    items = {one.ordinal: item(f"m{one.ordinal}") for one in found}
    items[3] = items[3].model_copy(update={"conversation_id": "here"})
    known = as_it_was(found, items, "here", now)
    assert [one.ordinal for one in known] == [0, 1]
    assert known[0].newer == NO_PLACE, "what tells otherwise was told later"
    assert [one.uses for one in known] == [0, 2], "this very answer may have used it"


def test_scores_count_places_of_what_the_answer_rested_on() -> None:
    columns = {"terms": [float(20 - n) for n in range(20)]}
    one = evidence(0, columns, relevant=(1, 15))
    scores = replay(held([one]), RuntimeSettings(recall_k=2))
    assert (scores.evidence[0], scores.reciprocal[0], scores.in_prompt[0]) == (0.5, 0.5, 0.5)
    assert scores.prompt_tokens[0] == 20.0


def test_too_little_evidence_stands_in_no_prompt() -> None:
    one = evidence(0, {"terms": [1.0, 0.5]}, speaks=0.3)
    scores = replay(held([one]), RuntimeSettings(recall_min_score=0.4))
    assert (scores.evidence[0], scores.in_prompt[0], scores.prompt_tokens[0]) == (1.0, 0.0, 0.0)


def test_what_repeats_a_better_one_comes_later() -> None:
    columns = {"terms": [1.0, 0.9, 0.8]}
    one = evidence(0, columns, relevant=(2,), alike=(Alike(one=0, other=1, likeness=1.0),))
    after, before = (
        replay(held([one]), RuntimeSettings(recall_weights=RecallWeights(repetition=share))) for share in (0.5, 0.0)
    )
    assert (before.reciprocal[0], after.reciprocal[0]) == (pytest.approx(1 / 3), 0.5)


def test_what_supersedes_stands_above_unless_the_past_is_asked_for() -> None:
    columns: dict[str, Any] = {"terms": [0.1, 1.0]}
    now, past = (
        replay(held([evidence(0, columns, newer=(-1, 0), past=past)]), RuntimeSettings()) for past in (False, True)
    )
    assert (now.reciprocal[0], past.reciprocal[0]) == (1.0, 0.5)


def test_questions_of_a_conversation_stay_on_one_side() -> None:
    tuning, held_out = parted(asked(200))
    assert not set(tuning.conversations) & set(held_out.conversations)
    assert 40 < len(held_out) < 120
    assert parted(list(reversed(asked(200))))[1].conversations == tuple(reversed(held_out.conversations))


def test_a_question_without_labels_is_no_evidence() -> None:
    assert len(held([evidence(0, {"terms": [1.0]}, relevant=())])) == 0


@given(st.text(max_size=30), st.text(max_size=5))
def test_a_conversation_lies_where_it_lay(conversation: str, salt: str) -> None:
    assert 0.0 <= share_of(conversation, salt) < 1.0
    assert share_of(conversation, salt) == share_of(conversation, salt)
