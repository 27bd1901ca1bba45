"""What is noted of texts, in both languages alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cognition.traits import (
    ASKED_FOR,
    ASKS,
    FACT,
    FEELING,
    FIRST_PERSON,
    HAS_NUMBER,
    LIFE,
    SAID,
    TELLS,
    TELLS_TIME,
    importance_of,
    names_in,
    traits_of,
)


@pytest.mark.parametrize(
    ("english", "french", "bit", "noted"),
    [
        ("Where is it?", "Où est-ce ?", ASKS, True),
        ("He asked “where is it?”", "Il a demandé « où est-ce ? »", ASKS, True),
        ("It is here.", "C'est ici.", ASKS, False),
        ("Is it? It is here.", "Vraiment ? C'est ici.", TELLS, True),
        ("Is it? Where?", "Vraiment ? Où ?", TELLS, False),
        ("I moved last week.", "J'ai déménagé la semaine dernière.", TELLS_TIME, True),
        ("We met on Friday.", "On s'est vus vendredi.", TELLS_TIME, True),
        ("The sea is blue.", "La mer est bleue.", TELLS_TIME, False),
        ("There were three of them.", "Il y en avait trois.", HAS_NUMBER, True),
        ("It cost 12 euros.", "Il a coûté 12 euros.", HAS_NUMBER, True),
        ("It cost nothing.", "Il n'a rien coûté.", HAS_NUMBER, False),
        ("My dog barks.", "Mon chien aboie.", FIRST_PERSON, True),
        ("The dog barks.", "Le chien aboie.", FIRST_PERSON, False),
    ],
)
def test_both_languages_are_noted_alike(english: str, french: str, bit: int, noted: bool) -> None:
    assert bool(traits_of(english) & bit) is noted
    assert bool(traits_of(french) & bit) is noted


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("yesterday we saw Odile and Marc.", 2),
        ("hier on a vu Élodie et Marc.", 2),
        ("Nothing happened. Then it rained.", 0),
        ("we saw Anne, Bea, Carl, Dora and Emil", 3),
        ("we saw Anne and Anne", 1),
    ],
)
def test_proper_names_are_counted_up_to_three(text: str, names: int) -> None:
    assert names_in(traits_of(text)) == names


@pytest.mark.parametrize(
    ("english", "french", "importance"),
    [
        ("Remember that the key is under the pot.", "Souviens-toi que la clé est sous le pot.", ASKED_FOR),
        ("Don't forget the milk.", "N'oublie pas le lait.", ASKED_FOR),
        ("This is very important: call Bob.", "C'est important : appelle Bob.", ASKED_FOR),
        ("My sister got married.", "Ma sœur s'est mariée.", LIFE),
        ("I love the sea.", "J'aime la mer.", FEELING),
        ("My brother is a baker.", "Mon frère est boulanger.", FACT),
        ("The tram was late.", "Le tram était en retard.", SAID),
        ("Where is the tram?", "Où est le tram ?", 0.0),
    ],
)
def test_both_languages_are_of_the_same_importance(english: str, french: str, importance: float) -> None:
    assert (importance_of(english), importance_of(french)) == (importance, importance)


def test_what_the_assistant_says_is_of_no_importance() -> None:
    assert importance_of("Remember that you love the sea.", "assistant") == 0.0


@given(st.text(max_size=500))
def test_any_text_has_traits_that_fit_and_an_importance(text: str) -> None:
    assert 0 <= traits_of(text) < 2**32
    assert 0 <= importance_of(text) <= 1
