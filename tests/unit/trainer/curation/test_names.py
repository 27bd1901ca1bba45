"""First names are found where they are merely mentioned; months, towns and words of the same letters are left."""

from __future__ import annotations

import pytest

from services.trainer.curation.names import NEVER, PLACES_AND_TIMES, WORDS, Mentioned, first_names


def found(text: str) -> list[str]:
    return [text[one.start : one.end] for one in Mentioned().find(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("I met Sophie yesterday.", ["Sophie"]),
        ("Étienne Lefèvre est venu avec Chloé.", ["Étienne Lefèvre", "Chloé"]),
        ("Is that Priya's bicycle?", ["Priya"]),
        ("my sister sophie is coming, and ma sœur odile aussi", ["sophie", "odile"]),
        ("That was Grace, you know.", ["Grace"]),
        ("I told Grace and my friend April.", ["Grace", "April"]),
    ],
)
def test_who_is_mentioned_is_found_with_all_of_the_name(text: str, names: list[str]) -> None:
    assert found(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "It rains in April and in Florence, and in May it doesn't.",
        "Hope is what is left. Will it rain? Mark the date.",
        "Rose bushes need water. Pierre blanche, ciel bleu.",
        "I told them and asked will he come.",
        "IN CAPITALS MARIE SHOUTS",  # a text without small letters says nothing about names
        "See https://example.org/Marie and @Marie.",
        "sophie without anybody's saying who",
    ],
)
def test_what_only_has_the_letters_of_a_name_is_left(text: str) -> None:
    assert found(text) == []


def test_what_is_never_a_name_is_not_listed_as_one() -> None:
    assert not NEVER & first_names()
    assert PLACES_AND_TIMES & first_names()
    assert WORDS & first_names()
    assert not PLACES_AND_TIMES & WORDS
