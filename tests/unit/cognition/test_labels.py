"""What an answer rested on is told from the words that it adds to its question."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.cognition.replaying.labels import MOST_MEMORIES, rests_on

QUESTION = "What colour is my kayak?"
MEMORIES = ("My kayak leaks a little.", "We painted the boat violet last May.", "What colour is a kayak?")


def test_the_memory_with_the_answers_own_words_is_what_it_rests_on() -> None:
    assert rests_on(QUESTION, "Your kayak is violet since May.", MEMORIES) == (1,)


def test_words_of_the_question_make_nothing_relevant() -> None:
    assert rests_on(QUESTION, "The colour of my kayak?", MEMORIES) == ()


def test_an_answer_from_elsewhere_rests_on_nothing() -> None:
    assert rests_on(QUESTION, "Paris is the capital of France, on the river Seine.", MEMORIES) == ()


def test_an_answer_may_rest_on_two() -> None:
    memories = ("Rex hates thunder", "Milo adores cheese", "it rains")
    assert set(rests_on("Tell me of the dogs", "Rex hates thunder, and Milo adores cheese.", memories)) == {0, 1}


@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.text(max_size=40), max_size=8))
def test_labels_are_different_places_of_memories(question: str, answer: str, memories: list[str]) -> None:
    found = rests_on(question, answer, memories)
    assert len(set(found)) == len(found) <= MOST_MEMORIES
    assert all(0 <= place < len(memories) for place in found)
