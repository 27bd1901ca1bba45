"""Fusing two kinds of evidence into one order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared import extractive
from libs.shared.contracts.common import Speaker
from libs.shared.contracts.ledger import RuntimeSettings
from libs.shared.contracts.memory import Candidate
from services.cognition import recall
from services.cognition.recall import Hit, distinct, fuse
from tests.unit.cognition.evidence import candidate, candidates, hit

SETTINGS = RuntimeSettings()
ASKED = ("dog", "rex", "nam")


def ids(found: tuple[Hit, ...]) -> list[str]:
    return [hit.candidate.message_id for hit in found]


def check_order_independence(found: list[Candidate], seed: int) -> None:
    shuffled = random.Random(seed).sample(found, len(found))
    assert fuse(shuffled, SETTINGS, 0.0, ASKED) == fuse(found, SETTINGS, 0.0, ASKED)


@given(candidates, st.integers())
def test_the_order_of_the_candidates_does_not_matter(found: list[Candidate], seed: int) -> None:
    check_order_independence(found, seed)


def test_an_order_left_to_chance_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    equals = [candidate(f"m{n}", bm25=1.0) for n in range(20)]
    check_order_independence(equals, seed=1)
    monkeypatch.setattr(recall, "_best_first", lambda hit: -hit.score)
    with pytest.raises(AssertionError):
        check_order_independence(equals, seed=1)


@given(candidates)
def test_scores_lie_between_nothing_and_one_and_are_the_sum_of_their_parts(found: list[Candidate]) -> None:
    for found_one in fuse(found, SETTINGS, 0.0, ASKED):
        assert 0 < found_one.score <= 1 + 1e-9
        assert found_one.score == pytest.approx(sum(found_one.parts.values()))


@given(candidates)
def test_the_best_comes_first_and_none_is_below_the_least(found: list[Candidate]) -> None:
    scores = [hit.score for hit in fuse(found, SETTINGS, 0.3, ASKED)]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= 0.3 for score in scores)


def test_both_kinds_of_evidence_beat_one() -> None:
    found = [candidate("words", bm25=10.0), candidate("both", bm25=9.0, cosine=0.7), candidate("sense", cosine=0.8)]
    assert ids(fuse(found, SETTINGS, 0.0))[0] == "both"


def test_the_weight_in_the_settings_decides() -> None:
    found = [candidate("words", bm25=10.0, cosine=0.2), candidate("sense", bm25=1.0, cosine=0.9)]
    assert ids(fuse(found, SETTINGS.model_copy(update={"recall_lexical_weight": 0.9}), 0.0))[0] == "words"
    assert ids(fuse(found, SETTINGS.model_copy(update={"recall_lexical_weight": 0.1}), 0.0))[0] == "sense"


def test_without_an_embedder_terms_have_the_whole_weight() -> None:
    (best, *_) = fuse([candidate("a", bm25=3.0), candidate("b", bm25=1.0)], SETTINGS, 0.0)
    assert best.score == 1.0


def test_unrelated_sentences_are_no_evidence() -> None:
    assert fuse([candidate("a", cosine=0.05), candidate("b", cosine=-0.2)], SETTINGS, 0.0) == ()


def test_quotations_of_memories_are_not_memories() -> None:
    quoted = "".join(extractive.answer("dog?", [], why="no-model", memory="searched"))
    found = [candidate("quoted", bm25=9.0, text=quoted, speaker=Speaker.ASSISTANT), candidate("said", bm25=1.0)]
    assert ids(fuse(found, SETTINGS, 0.0)) == ["said"]


def test_of_equals_the_newer_comes_first() -> None:
    found = [candidate("old", bm25=1.0, age_days=9), candidate("new", bm25=1.0)]
    assert ids(fuse(found, SETTINGS, 0.0)) == ["new", "old"]


def test_unscaled_evidence_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "_scaled", lambda value, low, high: value or 0.0)
    with pytest.raises(AssertionError):
        test_without_an_embedder_terms_have_the_whole_weight()


def check_fresh_words_count() -> None:
    found = [
        candidate("fresh", text="My dog is called Rex.", indexed=False),
        candidate("beside", text="It rains.", indexed=False),
        candidate("old", text="A dog barked.", bm25=1.0, cosine=0.3),
    ]
    (best, second) = fuse(found, SETTINGS, 0.0, ("dog", "rex", "nam"))
    assert (best.candidate.message_id, best.score) == ("old", 1.0)
    assert second.candidate.message_id == "fresh"
    assert second.parts == {"fresh": pytest.approx(2 / 3)}


def test_what_is_not_indexed_yet_is_scored_by_its_own_words() -> None:
    check_fresh_words_count()


def test_fresh_words_that_count_for_nothing_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "_fresh_hit", lambda found, _: Hit(found, 0.0, {}))
    with pytest.raises((AssertionError, ValueError)):
        check_fresh_words_count()


def test_a_question_without_terms_makes_nothing_fresh_fit() -> None:
    assert fuse([candidate("a", indexed=False)], SETTINGS, 0.0) == ()


def test_what_was_said_twice_stands_once_and_the_best_stays() -> None:
    hits = (hit("new", "It rains.", score=0.9), hit("old", "it  rains.", score=0.9), hit("other", "It pours."))
    assert ids(distinct(hits)) == ["new", "other"]
