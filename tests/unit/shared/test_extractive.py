"""Answers without a model quote what is remembered, plainly and in the asker's language."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.shared import extractive
from libs.shared.extractive import QUOTE_CHARACTERS, QUOTES, Quote, answer, excerpt, is_extractive

DAY = datetime(2026, 5, 1, 9, tzinfo=UTC)


def said(words: str, *, by_user: bool = True) -> Quote:
    return Quote(words, DAY, "user" if by_user else "assistant")


def joined(question: str, *quotes: Quote, **how: object) -> str:
    options = {"why": "no-model", "memory": "searched"} | how
    return "".join(answer(question, quotes, **options))  # type: ignore[arg-type]


def test_it_says_that_there_is_no_model_and_quotes_with_dates() -> None:
    told = joined("What is my dog called?", said("My dog is called Rex."))
    assert told.startswith("No language model")
    assert "On 1 May 2026 you said: “My dog is called Rex.”" in told


def test_a_french_question_gets_a_french_answer() -> None:
    told = joined("Comment s'appelle mon chien ?", said("Mon chien s'appelle Rex."))
    assert told.startswith("Aucun modèle de langue")
    assert "Le 1er mai 2026, vous avez dit : « Mon chien s'appelle Rex. »" in told


@pytest.mark.parametrize("question", ["What is my dog called?", "Comment s'appelle mon chien ?"])
def test_the_remedy_is_named_once_and_only_where_there_is_no_model(question: str) -> None:
    for quotes in ((), (said("My dog is Rex."), said("Rex is brown."))):
        assert joined(question, *quotes).count("mongars models pull") == 1
        assert "models pull" not in joined(question, *quotes, why="asked")
        away = joined(question, *quotes, why="out-of-reach")
        assert "models pull" not in away, "a model is there: another would not mend it"
        assert "mongars status" in away
        assert is_extractive(away)


def test_a_name_alone_is_answered_in_the_language_of_the_conversation() -> None:
    french, english = "Mon chien s'appelle Rex.", "My dog is called Rex."
    assert "Le 1er mai 2026" in joined("Rex", said("Max."), earlier=(french,))
    assert "On 1 May 2026" in joined("Rex", said("Max."), earlier=("Max", english, french))
    assert "Le 1er mai 2026" in joined("Rex", said(french)), "else in the language of what is quoted"


def test_what_the_first_version_said_is_still_known_as_such() -> None:
    assert is_extractive(
        "No language model is configured or reachable, so I can only quote my memory. I found nothing."
    )


def test_who_said_it_is_kept_apart() -> None:
    assert "I answered: “It is Rex.”" in joined("dog?", said("It is Rex.", by_user=False))


@pytest.mark.parametrize("question", ["What is my dog called?", "Comment s'appelle mon chien ?"])
@pytest.mark.parametrize("memory", ["searched", "off", "unreachable"])
def test_without_anything_to_quote_it_still_explains_itself(question: str, memory: str) -> None:
    told = joined(question, memory=memory)
    assert len(told) > 80
    assert is_extractive(told)


def test_the_three_ways_of_having_nothing_are_told_apart() -> None:
    assert len({joined("dog?", memory=m) for m in ("searched", "off", "unreachable")}) == 3


def test_what_was_told_is_said_to_be_kept_only_when_it_is() -> None:
    kept = "".join(answer("My dog is Rex.", [], why="no-model", memory="searched", kept=True))
    assert "remembered for later" in kept
    assert "remembered for later" not in joined("My dog is Rex.")


def test_nothing_is_quoted_from_a_memory_that_is_off() -> None:
    assert "Rex" not in joined("dog?", said("My dog is Rex."), memory="off")


def test_asked_for_by_name_it_does_not_complain() -> None:
    told = joined("dog?", said("My dog is Rex."), why="asked")
    assert "configured" not in told
    assert "Rex" in told


def test_its_own_answers_are_never_quoted() -> None:
    earlier = joined("dog?", said("My dog is Rex."))
    assert "Rex" not in joined("dog?", said(earlier, by_user=False))


def test_the_question_itself_is_no_answer() -> None:
    told = joined("What is my dog called?", said("what is my dog called"), said("It is Rex."))
    assert "what is my dog called" not in told
    assert "Rex" in told


def check_only_telling_ones_are_quoted() -> None:
    told = joined("dog", said("Do you know my dog?"), said("My dog is Rex."), said("My dog? Ask “Odile?”"))
    assert "Rex" in told
    assert "Do you know" not in told
    assert "Odile" not in told


def test_a_question_is_not_quoted_beside_a_statement() -> None:
    check_only_telling_ones_are_quoted()


def test_quoted_questions_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractive, "_asks", lambda sentence: False)
    with pytest.raises(AssertionError):
        check_only_telling_ones_are_quoted()


def test_a_question_is_quoted_where_nothing_else_is_there() -> None:
    assert "Do you know my dog?" in joined("dog", said("Do you know my dog?"))


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("Is the dog allowed?", "In “bail.pdf”, p. 3, added on 1 May 2026: “Dogs may live here.”"),
        ("Le chien est-il admis ?", "Dans « bail.pdf », p. 3, ajouté le 1er mai 2026 : « Dogs may live here. »"),
    ],
)
def test_documents_are_cited_with_their_page(question: str, line: str) -> None:
    assert line in joined(question, Quote("Dogs may live here.", DAY, source="bail.pdf", page=3))


@pytest.mark.parametrize(
    ("question", "line"),
    [("dog?", "On 1 May 2026 Zoé {0} said: “Rex.”"), ("le chien ?", "Le 1er mai 2026, Zoé {0} a dit : « Rex. »")],
)
def test_others_are_quoted_by_their_names(question: str, line: str) -> None:
    assert line in joined(question, Quote("Rex.", DAY, speaker="Zoé {0}"))


def test_an_excerpt_prefers_what_tells_to_what_asks() -> None:
    long = "Do you know how my dog is called? " + "We walked. " * 40 + "My dog is called Rex. " + "We walked. " * 40
    assert "Rex" in excerpt(long, "What is my dog called?")


def test_quotes_are_few_and_short() -> None:
    told = answer("dog", [said(f"dog {n} " + "word " * 500) for n in range(20)], why="no-model", memory="searched")
    lines = [piece for piece in told if piece.startswith("\n- ")]
    assert len(lines) == QUOTES
    assert all(len(line) < QUOTE_CHARACTERS + 80 for line in lines)


def test_an_excerpt_begins_where_the_answer_is() -> None:
    long = "The weather was fine. " * 30 + "My dog is called Rex. " + "We went home. " * 30
    assert "My dog is called Rex." in excerpt(long, "What is my dog called?")


def test_a_line_break_in_a_memory_breaks_no_list() -> None:
    line = next(p for p in answer("a", [said("b\n- c\n\nd")], why="asked", memory="searched") if p.startswith("\n- "))
    assert line.count("\n") == 1
