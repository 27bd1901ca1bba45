"""What is made of memories: telling sentences, whole, with their times written out."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.text import sentences
from services.optimizer.digesting.dating import dated
from services.optimizer.digesting.making import Made, Said, digests, in_bytes, job, payload_of
from services.optimizer.digesting.measuring import Tally, helps, measured, tally
from services.optimizer.digesting.telling import MOST_CHARACTERS, telling

AT = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
"""A Monday."""


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("I went there yesterday and sang.", "I went there yesterday (7 May 2023) and sang."),
        ("I met her last Friday.", "I met her last Friday (5 May 2023)."),
        ("We hiked last weekend.", "We hiked last weekend (6–7 May 2023)."),
        ("Last week I ran.", "Last week (week of 1 May 2023) I ran."),
        ("I painted it last year.", "I painted it last year (2022)."),
        ("It opens next month.", "It opens next month (June 2023)."),
        ("It was two weeks ago.", "It was two weeks ago (around 24 April 2023)."),
        ("Tomorrow's opening is mine.", "Tomorrow's (9 May 2023) opening is mine."),
        ("Je suis allé à Lyon hier.", "Je suis allé à Lyon hier (7 mai 2023)."),
        ("On part la semaine prochaine.", "On part la semaine prochaine (semaine du 15 mai 2023)."),
    ],
)
def test_a_time_that_hangs_on_the_telling_is_written_out(said: str, read: str) -> None:
    assert dated(said, AT) == read


@pytest.mark.parametrize(
    "said", ["I moved in June 2022.", "Recently I ran.", "I run in summer.", "J'ai vu Œdipe hier.", "On 3 May I left."]
)
def test_what_is_told_already_or_can_t_be_named_stays(said: str) -> None:
    assert dated(said, AT) == said


@given(st.text(max_size=200))
def test_writing_dates_out_only_adds(text: str) -> None:
    found = iter(dated(text, AT))
    assert all(character in found for character in text)


def test_greetings_thanks_and_questions_tell_nothing() -> None:
    text = "Hey Mel! Good to see you! I painted a lake in May. How have you been? Thanks, that's great! I am 34."
    assert telling(text) == ("I painted a lake in May.", "I am 34.")


@given(st.text(max_size=400))
def test_every_sentence_is_one_of_the_text_s(text: str) -> None:
    told = telling(text)
    assert set(told) <= set(sentences(text))
    assert len(set(told)) == len(told)
    assert all(len(one) <= MOST_CHARACTERS for one in told)


def said(text: str, message_id: str = "m1") -> Said:
    return Said(message_id=message_id, version=3, text=text, speaker="user", at=AT)


def test_the_child_makes_a_digest_of_each_in_order() -> None:
    memories = [said("Hi! I went to Lyon yesterday.", "m1"), said("Thanks!", "m2")]
    made = Made.model_validate_json(job(payload_of(memories)))
    assert made.tellings == digests(memories)
    assert [one.message_id for one in made.tellings] == ["m1", "m2"]
    assert [one.read for one in made.tellings] == [("I went to Lyon yesterday (7 May 2023).",), ()]
    assert made.tellings[0].said == ("I went to Lyon yesterday.",)
    assert (made.tellings[0].version, made.tally.memories) == (3, 2)


def test_vectors_keep_their_direction_in_a_quarter_of_the_room() -> None:
    rows = np.random.default_rng(7).normal(size=(50, 384)).astype("<f4")
    small = np.frombuffer(in_bytes([row.tobytes() for row in rows]), dtype=np.int8).reshape(50, 384).astype(float)
    cosines = (rows * small).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(small, axis=1)
    assert cosines.min() > 0.999
    assert in_bytes([]) == b""


def test_shorter_digests_that_keep_the_words_help() -> None:
    text = "Hey you! So good to see you again, my friend! I painted the lake near Annecy."
    found = tally([text] * 40, [("I painted the lake near Annecy.",)] * 40)
    assert helps(found) is None or "lose" in str(helps(found))
    tokens, kept = measured(found)
    assert (tokens.samples, tokens.better) == (40, "less")
    assert tokens.after < tokens.before
    assert tokens.high < 0
    assert 0 < kept.after < 1


@pytest.mark.parametrize(
    ("texts", "made", "why"),
    [
        (["I painted a lake."] * 5, [("I painted a lake.",)] * 5, "tell nothing"),
        (["I painted a lake."] * 50, [("I painted a lake.",)] * 50, "no shorter"),
        (["I painted a lake and swam in another sea."] * 50, [("I painted",)] * 50, "lose"),
    ],
)
def test_digests_that_save_nothing_or_lose_much_are_not_proposed(
    texts: list[str], made: list[tuple[str, ...]], why: str
) -> None:
    assert why in str(helps(tally(texts, made)))


def test_tallies_of_two_batches_are_those_of_both_together() -> None:
    texts, made = ["Hi! I swam far.", "I ran home. Thanks!"], [("I swam far.",), ("I ran home.",)]
    assert tally(texts[:1], made[:1]).plus(tally(texts[1:], made[1:])) == tally(texts, made)
    assert Tally().plus(tally(texts, made)) == tally(texts, made)
