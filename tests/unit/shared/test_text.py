"""Words to terms: a question finds what was said, in English and in French."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared import text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("running", "runs"),
        ("studies", "studied"),
        ("happily", "happiness"),
        ("codes", "coding"),
        ("l'hôpital", "hopitaux"),
        ("l’école", "ecoles"),
        ("manger", "mangé"),
        ("je mangeais", "ils mangeaient"),
        ("cheval", "chevaux"),
        ("heureuse", "heureusement"),
        ("actives", "actif"),
        ("restaurants", "restaurant"),
        ("lessons", "lesson"),
        ("classes", "class"),
        ("CŒUR", "coeur"),
        ("Straße", "strasse"),
        ("John's", "John"),
    ],
)
def test_forms_of_a_word_meet(asked: str, said: str) -> None:
    assert set(text.terms(asked)) & set(text.terms(said))


@pytest.mark.parametrize(("one", "other"), [("moral", "mortal"), ("2024", "2025"), ("bus", "busy")])
def test_different_words_stay_apart(one: str, other: str) -> None:
    assert text.terms(one) != text.terms(other)


def test_small_words_carry_nothing_unless_there_is_nothing_else() -> None:
    assert text.terms("What is the name of my dog?") == text.terms("name dog")
    assert text.terms("to be or not to be") != []


def test_unspaced_scripts_are_found_by_pairs() -> None:
    assert set(text.terms("日本")) <= set(text.terms("私は日本語を話します"))


def test_counts_are_of_terms() -> None:
    assert text.term_counts("Dogs, dogs and a cat") == {"dog": 2, "cat": 1}


def test_a_question_gives_each_term_once_and_no_more_than_asked() -> None:
    assert text.query_terms("dog dog cat bird", 2) == ("dog", "cat")


@given(st.text(max_size=200))
def test_any_text_gives_bounded_folded_terms(anything: str) -> None:
    for term in text.terms(anything):
        assert 0 < len(term) <= text.MAX_TERM_CHARACTERS * 3
        assert term == text.fold(term)


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=80))
def test_composed_and_decomposed_text_give_the_same_terms(anything: str) -> None:
    assert text.terms(unicodedata.normalize("NFD", anything)) == text.terms(unicodedata.normalize("NFC", anything))


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=30))
def test_stems_are_prefix_like_and_never_too_short(word: str) -> None:
    stemmed = text.stem(word)
    assert min(len(word), text.SHORTEST_STEM) <= len(stemmed) <= len(word)
    assert stemmed[:2] == word[:2]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Where did I park the car?", "en"),
        ("Où est-ce que j'ai garé la voiture ?", "fr"),
        ("Et l'an passé ?", "fr"),
        ("Qu'est-ce que tu sais de moi ?", "fr"),
        ("pizza", "en"),
        ("Bonjour", "fr"),
        ("Merci beaucoup", "fr"),
        ("Adresse de Rex ?", "fr"),
        ("Rex ?", "fr"),
        ("Rex habite Paris", "fr"),
        ("Hello", "en"),
        ("Rex: where?", "en"),
        ("été", "fr"),
        ("", "en"),
    ],
)
def test_the_asker_s_language_is_told_by_small_words(said: str, code: str) -> None:
    assert text.language(said) == code


def test_sentences_are_whole_and_never_empty() -> None:
    assert text.sentences("One. Two!  Three?\n\nFour") == ["One.", "Two!", "Three?", "Four"]
    assert text.sentences("  \n ") == []
