"""Nothing personal that can be found is left, and one thing is one word throughout a conversation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.curation.forms import Kind
from services.trainer.curation.personal import find
from services.trainer.curation.scrubbing import Scrubber
from tests.support.personal import Planted, planted

SENTENCES = list(planted(2, 8))


def test_one_thing_is_one_word_and_another_is_another() -> None:
    scrubber = Scrubber()
    assert scrubber.scrub("Write to a.b@example.org or c@example.org.") == "Write to <EMAIL_1> or <EMAIL_2>."
    assert scrubber.scrub("a.b@Example.org, again? 06 12 34 56 78") == "<EMAIL_1>, again? <PHONE_1>"
    assert scrubber.counts == {Kind.EMAIL: 3, Kind.PHONE: 1}


def test_a_name_that_is_introduced_is_taken_out_wherever_it_stands() -> None:
    texts = ["Does Amina like roses?", "My name is Amina Okafor.", "Okafor is on the list; Amina too."]
    scrubber = Scrubber()
    scrubber.learn(texts)
    assert [scrubber.scrub(text) for text in texts] == [
        "Does <NAME_1> like roses?",
        "My name is <NAME_1>.",
        "<NAME_1> is on the list; <NAME_1> too.",
    ]


def test_a_name_that_is_known_needs_no_introduction() -> None:
    assert Scrubber(["Zoë Nguyen"]).scrub("I think that Zoë knows.") == "I think that <NAME_1> knows."


def test_conversations_know_nothing_of_each_other() -> None:
    Scrubber().learn(["My name is Zorblax."])
    assert Scrubber().scrub("Zorblax") == "Zorblax"


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4), joined=st.sampled_from([" ", "\n", ", ", ""])
)
def test_nothing_is_left_that_could_be_found(chosen: list[Planted], joined: str) -> None:
    text = joined.join(one.text for one in chosen)
    scrubbed = Scrubber().scrub(text)
    assert find(scrubbed) == []
    assert Scrubber().scrub(scrubbed) == scrubbed


def test_what_was_planted_is_gone() -> None:
    for one in SENTENCES:
        assert one.text[one.start : one.end] not in Scrubber().scrub(one.text)
