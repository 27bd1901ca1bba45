"""What is read out of a question, in both languages alike."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cognition import question as questions
from services.cognition.question import NO_NAMES, Names, Question, read, understood

NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)
NAMES = Names(["Caroline", "Mélanie", "John Smith", "John Doe", "Will", "user", "assistant"])


def asked(text: str, names: Names = NAMES) -> Question:
    return read(text, names, NOW)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Where does Caroline live?", {"Caroline"}),
        ("Où habite Caroline ?", {"Caroline"}),
        ("Where does melanie live?", {"Mélanie"}),
        ("Où habite Mel ?", {"Mélanie"}),
        ("Caroline's sister", {"Caroline"}),
        ("l'amie d'Caroline", {"Caroline"}),
        ("What did Smith say?", {"John Smith"}),
        ("Which John?", set()),
        ("What did john doe say to Caroline?", {"John Doe", "Caroline"}),
        ("will it rain?", set()),
        ("What did Will say?", {"Will"}),
        ("Caroline et Mélanie", {"Caroline", "Mélanie"}),
        ("Where do I live?", {"user"}),
        ("Où est-ce que j'habite ?", {"user"}),
        ("Quel est mon travail ?", {"user"}),
        ("What did you recommend me?", {"assistant"}),
        ("Qu'est-ce que tu m'as conseillé ?", {"assistant"}),
        ("Have you ever said so?", {"assistant"}),
        ("What did I tell you?", {"user"}),
        ("Où est le musée ?", set()),
    ],
)
def test_whom_a_question_is_about(text: str, named: set[str]) -> None:
    assert asked(text).named == named


def test_of_several_the_first_is_the_subject_unless_they_are_together() -> None:
    assert asked("What does Caroline think of Mélanie's plan?").subject == "Caroline"
    assert asked("What do Caroline and Mélanie plan?").subject is None
    assert asked("Que font Caroline et Mélanie ?").subject is None


def test_a_named_speaker_is_embedded_in_the_first_person() -> None:
    assert asked("What is Caroline's job?").text == "What is my job?"
    assert asked("When did Caroline move?").text == "When did I move?"
    assert asked("What is John Smith's job?").text == "What is my job?"
    assert asked("Quel est le métier de Caroline ?").text.split() == ["Quel", "est", "le", "métier", "de", "?"]


def test_names_and_dates_are_no_terms() -> None:
    question = asked("What did Caroline buy in July 2023 in Rome?")
    assert question.terms == ("buy", "rom")
    assert len(question.times) == 1
    assert asked("Qu'a acheté Caroline en juillet 2023 à Rome ?").terms == ("achet", "rom")


def test_a_question_of_nothing_else_keeps_its_words() -> None:
    assert asked("Caroline?").terms == ("carolin",)
    assert asked("avant ?").terms


@pytest.mark.parametrize(
    ("english", "french", "wants"),
    [
        ("When did she move?", "Quand a-t-elle déménagé ?", ("time",)),
        ("What year was it?", "C'était en quelle année ?", ("time",)),
        ("How many cats are there?", "Combien de chats y a-t-il ?", ("number",)),
        ("How old is the dog?", "Quel âge a le chien ?", ("number",)),
        ("Who is the neighbour?", "Qui est le voisin ?", ("name",)),
        ("What is the name of the dog?", "Comment s'appelle le chien ?", ("name",)),
        ("Is it warm?", "Fait-il chaud ?", ()),
    ],
)
def test_both_languages_want_the_same_kind_of_answer(english: str, french: str, wants: tuple[str, ...]) -> None:
    assert set(wants) <= set(asked(english).wants)
    assert set(wants) <= set(asked(french).wants)
    assert bool(asked(english).wants) == bool(asked(french).wants) == bool(wants)


@pytest.mark.parametrize(
    "text",
    [
        "Where did I live before?",
        "Où habitais-je avant ?",
        "What was my previous job?",
        "Quel était mon ancien métier ?",
        "Quelle était mon ancienne adresse ?",
        "Où travaillais-je auparavant ?",
        "Who used to be my boss?",
        "Where did I live in 2021?",
        "Où habitais-je l'an passé ?",
    ],
)
def test_a_question_about_the_past_is_known_for_one(text: str) -> None:
    assert asked(text).past


@pytest.mark.parametrize("text", ["Where do I live?", "Où est-ce que j'habite ?", "What is on in June?", "Avancer ?"])
def test_a_question_about_now_is_none_of_the_past(text: str) -> None:
    assert not asked(text).past


@pytest.mark.parametrize(
    ("text", "event", "offset", "days"),
    [
        ("What did I buy the week before the trip to Paris?", "the trip to paris", -7, 7),
        ("The week before the trip to Paris, what did I buy?", "the trip to paris", -7, 7),
        ("Qu'ai-je acheté la semaine avant le voyage à Paris ?", "le voyage a paris", -7, 7),
        ("What did I do the day after the wedding?", "the wedding", 1, 1),
        ("Qu'ai-je fait le lendemain du mariage ?", "mariage", 1, 1),
        ("Qu'ai-je fait la veille de la fête ?", "fete", -1, 1),
        ("Where was I on the day of the accident?", "the accident", 0, 1),
        ("Où étais-je le jour de l'accident ?", "l'accident", 0, 1),
        ("two weeks before the wedding", "the wedding", -17, 7),
        ("deux semaines avant le mariage", "le mariage", -17, 7),
        ("three days after I moved", "i moved", 3, 1),
        ("the weekend of the festival", "the festival", -1, 3),
    ],
)
def test_times_hang_on_events_in_both_languages(text: str, event: str, offset: int, days: int) -> None:
    anchor = asked(text).anchor
    assert anchor is not None
    assert (anchor.event, anchor.offset, anchor.days) == (event, offset, days)


@pytest.mark.parametrize(
    "text",
    [
        "What day of the week is it?",
        "the week of May 5",
        "Le mois de mars",
        "the week before last",
        "What did I do before the trip?",
        "un jour de semaine",
        "the day before yesterday",
    ],
)
def test_not_everything_that_has_a_day_hangs_on_an_event(text: str) -> None:
    assert asked(text).anchor is None


def test_once_the_event_is_found_its_own_words_no_longer_count() -> None:
    question = asked("What did I buy the week before the trip to Paris?")
    assert question.anchor is not None
    found = question.at(question.anchor.time(NOW))
    assert (found.terms, len(found.times), found.past) == (("buy",), 1, True)
    only = asked("the week before the trip")
    assert only.anchor is not None
    assert only.at(only.anchor.time(NOW)).terms == ("trip",)


def test_what_was_understood_is_told_plainly() -> None:
    told = understood(asked("When did Caroline buy the boat last week?"), NOW)
    assert told == {
        "terms": ["buy", "boat"],
        "names": ["Caroline"],
        "times": [["2026-11-09T00:00:00+00:00", "2026-11-16T00:00:00+00:00"]],
        "event": None,
        "wants": ["time"],
        "past": True,
    }


def test_many_names_cost_no_more_than_few() -> None:
    many = Names([f"Person{n} Family{n}" for n in range(256)])
    assert asked("What did Person7 say?", many).named == {"Person7 Family7"}
    assert asked("What did Family7 say?", many).named == {"Person7 Family7"}


@given(st.text(max_size=300), st.lists(st.text(min_size=1, max_size=20), max_size=5))
def test_any_question_with_any_names_is_read(text: str, names: list[str]) -> None:
    question = read(text, Names(names), NOW)
    assert len(question.terms) <= questions.MOST_TERMS
    assert question.named <= {*names, "user", "assistant"}
    understood(question, NOW)


def test_names_that_are_not_known_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Names, "speaker_of", lambda self, word: None)
    with pytest.raises(AssertionError):
        test_whom_a_question_is_about("Where does Caroline live?", {"Caroline"})


def test_without_names_nobody_is_named() -> None:
    assert asked("Where does Caroline live?", NO_NAMES).named == frozenset()


def test_of_many_times_a_few_are_looked_for() -> None:
    assert len(asked("hier, " * 500).times) == questions.MOST_TIMES
    assert len(asked("What did I say yesterday, and in May 2023?").times) == 2


@pytest.mark.parametrize(
    ("english", "french", "about"),
    [
        ("What do you remember of Odile?", "Qu’est-ce que tu sais d’Odile ?", {"odil"}),
        ("Tell me about Odile", "Parle-moi d'Odile", {"odil"}),
        ("Do you still remember anything about Odile?", "Te souviens-tu encore d'Odile ?", {"odil"}),
        ("Could you tell me everything you know about Odile?", "Dis-moi tout ce que tu sais sur Odile", {"odil"}),
    ],
)
def test_words_that_only_ask_the_memory_to_speak_are_not_looked_up(english: str, french: str, about: set[str]) -> None:
    for question in (english, french):
        found = read(question, NO_NAMES, NOW)
        assert set(found.terms) == about
        assert "Odile" in found.text


@pytest.mark.parametrize("question", ["Do you know the code?", "What do you remember?", "Tell me when the meeting is"])
def test_a_question_without_a_topic_after_them_is_left_whole(question: str) -> None:
    assert read(question, NO_NAMES, NOW).text == question
