"""Ranking by every kind of evidence: one order, whatever the candidates' own, and nothing stale above what is newer."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared import extractive
from libs.shared.contracts.recall import Candidates
from libs.shared.contracts.runtime_settings import RecallWeights
from libs.shared.dates import between
from libs.shared.recall_sums import NO_PLACE
from services.cognition import recall
from services.cognition.question import Question
from services.cognition.recall import Found, Ranked, found_in, rank
from services.cognition.traits import ASKS, HAS_NUMBER, TELLS_TIME
from tests.unit.cognition.evidence import ASKED, DAY, NOW, found, rows
from tests.unit.cognition.household import memory

WEIGHTS = RecallWeights()
PAST = Question("What was my dog called before?", ("dog", "cal"), past=True)


def ranked(candidates: list[Found], question: Question = ASKED, weights: RecallWeights = WEIGHTS) -> list[Ranked]:
    return rank(candidates, question, weights, NOW.timestamp(), whole=10.0)


def order(candidates: list[Found], question: Question = ASKED, weights: RecallWeights = WEIGHTS) -> list[int]:
    return [one.found.ordinal for one in ranked(candidates, question, weights)]


def shuffled(candidates: list[Found], seed: int) -> list[Found]:
    """The same in another order, so that their places differ too."""
    places = random.Random(seed).sample(range(len(candidates)), len(candidates))
    new = {old: place for place, old in enumerate(places)}
    return [candidates[old]._replace(newer=new.get(candidates[old].newer, NO_PLACE)) for old in places]


def check_order_independence(candidates: list[Found], seed: int) -> None:
    one, other = ranked(candidates), ranked(shuffled(candidates, seed))
    assert [r.found.ordinal for r in one] == [r.found.ordinal for r in other]
    assert [r.score for r in one] == pytest.approx([r.score for r in other])


@given(rows(), st.integers())
def test_the_order_of_the_candidates_does_not_matter(candidates: list[Found], seed: int) -> None:
    check_order_independence(candidates, seed)


def test_an_order_left_to_chance_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    equals = [found(n, bm25=1.0) for n in range(20)]
    check_order_independence(equals, seed=1)
    monkeypatch.setattr(recall, "best_first", lambda one: -one.score)
    with pytest.raises(AssertionError):
        check_order_independence(equals, seed=1)


@given(rows(), st.sampled_from((ASKED, PAST, Question("", ()), Question("Zoé?", ("zo",), named=frozenset({"Zoé"})))))
def test_scores_are_bounded_and_the_sum_of_their_parts(candidates: list[Found], question: Question) -> None:
    for one in ranked(candidates, question):
        assert 0 <= one.score <= 1 + 0.001
        assert 0 <= one.evidence <= 1
        assert one.score == pytest.approx(max(0.0, sum(one.parts.values())))


def check_nothing_stale_stands_above(candidates: list[Found]) -> None:
    places = {ordinal: place for place, ordinal in enumerate(order(candidates))}
    for candidate in candidates:
        if candidate.newer != NO_PLACE:
            assert places[candidates[candidate.newer].ordinal] < places[candidate.ordinal]


@given(rows())
def test_what_is_superseded_never_stands_above_what_supersedes_it(candidates: list[Found]) -> None:
    check_nothing_stale_stands_above(candidates)


CHAIN = [found(0, bm25=9.0, newer=1), found(1, bm25=2.0, newer=2), found(2), found(3, bm25=1.0)]


def test_an_order_without_lifting_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_nothing_stale_stands_above(CHAIN)
    monkeypatch.setattr(recall, "lifted", lambda scores, newer: list(scores))
    with pytest.raises(AssertionError):
        check_nothing_stale_stands_above(CHAIN)


def test_the_newer_is_lifted_and_the_older_keeps_its_score() -> None:
    plain = {one.found.ordinal: one for one in ranked([c._replace(newer=NO_PLACE) for c in CHAIN])}
    lifted = {one.found.ordinal: one for one in ranked(CHAIN)}
    assert order(CHAIN)[:3] == [2, 1, 0]
    assert lifted[0].score == plain[0].score
    assert lifted[2].parts["superseding"] == pytest.approx(lifted[2].score - plain[2].score)
    assert lifted[0].until == CHAIN[1].at


def test_a_question_about_the_past_lifts_nothing() -> None:
    assert order(CHAIN, PAST)[0] == 0


def test_what_supersedes_itself_in_a_circle_ends() -> None:
    circle = [found(0, bm25=1.0, newer=1), found(1, newer=0)]
    assert len(order(circle)) == 2


def test_both_kinds_of_evidence_beat_one() -> None:
    candidates = [found(0, bm25=10.0, cosine=0.1), found(1, bm25=9.0, cosine=0.7), found(2, cosine=0.8)]
    assert order(candidates)[0] == 1


@pytest.mark.parametrize(("weights", "first"), [({"terms": 5.0}, 0), ({"meaning": 5.0}, 1)])
def test_the_weights_in_the_settings_decide(weights: dict[str, float], first: int) -> None:
    candidates = [found(0, bm25=10.0, cosine=0.2), found(1, bm25=1.0, cosine=0.9)]
    assert order(candidates, weights=RecallWeights(**weights))[0] == first


def test_without_vectors_terms_stand_for_what_is_meant() -> None:
    lacking, having = found(0, bm25=10.0), found(1, bm25=10.0, cosine=0.1)
    assert order([lacking, having, found(2, cosine=0.9)])[0] == 0


NAMED = Question("Where does Zoé live?", ("liv",), named=frozenset({"Zoé"}))
LONG_AGO = Question("What did I do in June?", (), times=(between(DAY - timedelta(days=40), DAY - timedelta(days=30)),))


@pytest.mark.parametrize(
    ("question", "better"),
    [
        (NAMED, {"speaker": "Zoé"}),
        (Question("when?", (), wants_time=True), {"traits": TELLS_TIME}),
        (Question("how many?", (), wants_number=True), {"traits": HAS_NUMBER}),
        (Question("who?", (), wants_name=True), {"traits": 3 << 8}),
        (LONG_AGO, {"at": (DAY - timedelta(days=35)).timestamp()}),
        (ASKED, {"words": 40}),
        (ASKED, {"importance": 0.9}),
        (ASKED, {"pinned": True}),
        (ASKED, {"uses": 9}),
    ],
    ids=["speaker", "time told", "number", "name", "time", "length", "importance", "pinned", "uses"],
)
def test_each_part_raises_what_it_speaks_for(question: Question, better: dict[str, object]) -> None:
    plain = found(1, bm25=5.0, cosine=0.5)
    assert order([plain, plain._replace(ordinal=0, **better)], question)[0] == 0  # type: ignore[arg-type]


def test_a_question_asked_before_answers_less_than_a_statement() -> None:
    assert order([found(1, bm25=5.0, traits=ASKS), found(0, bm25=5.0)])[0] == 0


def test_a_weight_of_nothing_leaves_its_part_out() -> None:
    (one,) = ranked([found(0, bm25=5.0)], weights=RecallWeights(strength=0))
    assert "strength" not in one.parts


def test_of_equals_the_newer_comes_first() -> None:
    assert order([found(0, bm25=1.0, age_days=9), found(1, bm25=1.0)]) == [1, 0]


def test_what_surrounds_a_hit_in_its_conversation_is_raised() -> None:
    near, far = found(1, bm25=1.0, conversation=7), found(2, bm25=1.0, conversation=8)
    assert order([found(0, bm25=9.0, conversation=7), near, far]) == [0, 1, 2]


def test_evidence_does_not_depend_on_the_other_candidates() -> None:
    weak = found(0, bm25=1.0, cosine=0.1)
    (alone,) = ranked([weak])
    beside = {one.found.ordinal: one for one in ranked([weak, found(1, bm25=10.0, cosine=0.9)])}
    assert alone.evidence == beside[0].evidence == pytest.approx(0.1)
    assert beside[1].evidence == pytest.approx(1.0)


def test_two_kinds_of_evidence_say_more_than_one() -> None:
    both, one = (ranked([found(0, bm25=5.0, cosine=cosine)])[0].evidence for cosine in (0.55, None))
    assert (one, both) == pytest.approx((0.5, 0.75))


def columns(fresh: tuple[str, ...], whole: float = 4.0) -> Candidates:
    return Candidates(
        ordinals=(3,),
        conversations=(0,),
        speakers=(0,),
        at=(DAY.timestamp(),),
        words=(4,),
        traits=(0,),
        importance=(0.1,),
        uses=(0,),
        used_at=(0.0,),
        pinned=(False,),
        bm25=(2.0,),
        cosine=(None,),
        newer=(-1,),
        names=("Zoé",),
        whole_bm25=whole,
        fresh=tuple(memory(f"f{n}", text) for n, text in enumerate(fresh)),
    )


def check_fresh_words_count() -> None:
    (old, fresh, beside) = found_in(columns(("My dog is called Rex.", "It rains.")), ("dog", "cal", "nam"))
    assert (old.speaker, old.bm25) == ("Zoé", 2.0)
    assert (fresh.bm25, beside.bm25) == pytest.approx((4.0 * 2 / 3, 0.0))
    assert ranked([old, fresh, beside])[0].found is fresh


def test_what_is_not_indexed_yet_is_scored_by_its_own_words() -> None:
    check_fresh_words_count()


def test_fresh_words_that_count_for_nothing_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "terms", lambda text: [])
    with pytest.raises(AssertionError):
        check_fresh_words_count()


def test_quotations_of_memories_are_not_memories() -> None:
    quoted = "".join(extractive.answer("dog?", [], why="no-model", memory="searched"))
    assert len(found_in(columns((quoted,)), ("dog",))) == 1
