"""What may not be learnt from is left out and counted, nothing leaks across the split, a version follows the input."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared.errors import InvalidRequest
from services.trainer.curation.choosing import IN_WORDS, LeftOut
from services.trainer.curation.datasets import Curation, curate
from services.trainer.curation.likeness import jaccard, normal, shingles
from tests.support.exchanges import exchange, exchanges

LONG = " ".join(f"word{at}" for at in range(30))


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"rating": -1}, LeftOut.DISLIKED),
        ({"partial": True}, LeftOut.PARTIAL),
        ({"quoted": True}, LeftOut.QUOTED),
        ({"answer": "  \n"}, LeftOut.BLANK),
        ({"question": ""}, LeftOut.BLANK),
        ({"answer": "long " * 5000}, LeftOut.TOO_LONG),
    ],
)
def test_what_may_not_be_learnt_from_is_left_out(about: dict[str, Any], why: LeftOut) -> None:
    odd = exchange("odd", "odd", **about)
    dataset = curate([*exchanges(12), odd])
    assert "odd" not in dataset.sources
    assert dataset.card.left_out == {why: 1}
    assert dataset.card.given == 25


def test_an_answer_that_no_model_wrote_is_left_out() -> None:
    from libs.shared.extractive import answer

    quoted = answer("What do I like?", [], why="no-model", memory="empty")  # type: ignore[arg-type]
    dataset = curate([*exchanges(12), exchange("odd", "odd", answer="".join(quoted))])
    assert dataset.card.left_out == {LeftOut.QUOTED: 1}


def test_every_reason_has_its_words() -> None:
    assert set(IN_WORDS) == set(LeftOut)


def test_what_was_said_before_is_said_once() -> None:
    first = exchange("a", "a", question=LONG, answer=LONG)
    same = dataclasses.replace(
        first, conversation_id="b", question=LONG.upper() + " ?!", at=first.at.replace(year=2027)
    )
    near = dataclasses.replace(same, conversation_id="c", answer=LONG.replace("word29", "other"))
    dataset = curate([near, same, *exchanges(12), first])
    assert dataset.card.left_out == {LeftOut.DUPLICATE: 1, LeftOut.NEAR_DUPLICATE: 1}
    assert {"b", "c"}.isdisjoint(dataset.sources), "the earliest stands"


def test_an_answer_that_is_trained_on_measures_nothing() -> None:
    dataset = curate(exchanges(40))
    trained = dataset.of("train")[0]
    conversation = dataset.of("held_out")[0].conversation_id
    parrot = exchange(
        conversation, "parrot", question="Something else entirely, would you say so?", answer=trained.answer
    )
    found = curate([*exchanges(40), parrot])
    assert found.card.left_out == {LeftOut.ANSWER_IN_TRAINING: 1}
    assert "parrot" not in {one.turn_id for one in found.examples}


PARTS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(0, 4), st.integers(-1, 1)), min_size=12, max_size=40
)


@settings(max_examples=25, deadline=None)
@given(parts=PARTS, seed=st.integers(0, 2**32))
def test_nothing_leaks_across_the_split_and_order_means_nothing(parts: list[tuple[int, ...]], seed: int) -> None:
    """Few questions and answers, so that many are alike, in few conversations."""
    given_ = [
        exchange(
            f"c{conversation}",
            f"t{at}",
            question=f"{LONG} {question} {'a b c'[:question]}",
            answer=f"{LONG[: 60 + 30 * answer]} {answer}",
            rating=rating,
        )
        for at, (conversation, question, answer, rating) in enumerate(parts)
    ]
    try:
        dataset = curate(given_)
    except InvalidRequest:
        return
    train, held = dataset.of("train"), dataset.of("held_out")
    assert {one.conversation_id for one in train}.isdisjoint(one.conversation_id for one in held)
    for one in held:
        for other in train:
            assert jaccard(*(shingles(f"{each.question}\n{each.answer}") for each in (one, other))) < 0.8
            assert jaccard(shingles(one.answer), shingles(other.answer)) < 0.8
    texts = [(normal(one.question), normal(one.answer)) for one in dataset.examples]
    assert len(set(texts)) == len(texts)
    card = dataset.card
    assert sum(card.examples.values()) + sum(card.left_out.values()) == card.given
    random.Random(seed).shuffle(given_)
    assert curate(given_) == dataset


def test_a_trace_shows_no_words() -> None:
    said = repr(
        (exchange("c", "t", question="my secret", answer="secret", names=("Secret",)), curate(exchanges(12)).examples)
    )
    assert "secret" not in said.lower()
    assert "roses" not in said


def test_another_word_is_another_version() -> None:
    first = curate(exchanges(12))
    assert curate(exchanges(12)).card.version == first.card.version
    changed = exchanges(12)
    changed[3] = dataclasses.replace(changed[3], answer=changed[3].answer + " Indeed.")
    assert curate(changed).card.version != first.card.version
    assert curate(exchanges(12), Curation(likeness=0.9)).card.version != first.card.version


def test_a_dataset_says_what_it_was_made_of() -> None:
    given_ = [*exchanges(12), exchange("c0", "edited", version=3)]
    dataset = curate(given_)
    assert ("edited", 3) in dataset.members
    assert len(dataset.members) == 25
    assert dataset.sources == {f"c{at}" for at in range(12)}
    assert dataset.owners == {"ada", "bea"}


def test_a_card_counts_and_names_nobody() -> None:
    given_ = [*exchanges(12), exchange("c0", "x", question="Mon adresse est ada@example.org, tu sais pourquoi ?")]
    card = curate(given_).card
    assert (card.owners, card.personal) == (2, {"EMAIL": 1})
    assert card.languages == {"en": 24, "fr": 1}
    assert card.first_day <= card.last_day
    said = card.model_dump_json()
    for word in ("ada", "bea", "c0", "roses", "example.org"):
        assert word not in said


def test_nothing_to_train_on_is_refused_with_the_reasons_and_no_words() -> None:
    with pytest.raises(InvalidRequest, match=r"of 2 exchanges none is left.*rate or allow more") as caught:
        curate([exchange("a", "a", rating=-1), exchange("b", "b", partial=True)])
    assert caught.value.data == {"left_out": {"disliked": 1, "partial": 1}}
    assert "roses" not in str(caught.value)
