"""What has a form is found, on a made set of both languages; what only looks so isn't; what can't be found is known."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.curation.forms import Found, Kind
from services.trainer.curation.personal import find
from services.trainer.curation.scrubbing import Scrubber
from tests.support.personal import HARMLESS, INTRODUCED, MENTIONED, OTHERWISE, PLANTS, Planted, names, planted

EACH = 60
LEAST = 0.98
"""Of both: the made set is found whole; another seed may have a number that is two things at once."""


def covered(one: Planted, found: list[Found]) -> bool:
    """Whether all that was planted is taken for what it is."""
    return any(each.kind is one.kind and each.start <= one.start and each.end >= one.end for each in found)


def test_of_the_made_set_nearly_all_is_found_and_nearly_nothing_else() -> None:
    for kind in PLANTS:
        sentences = [one for one in planted(1, EACH) if one.kind is kind]
        found = [find(one.text) for one in sentences]
        right = sum(covered(one, each) for one, each in zip(sentences, found, strict=True))
        assert right / len(sentences) >= LEAST, f"recall of {kind}"
        assert right / sum(map(len, found)) >= LEAST, f"precision of {kind}"


def test_what_only_looks_personal_is_left() -> None:
    assert {text: find(text) for text in HARMLESS if find(text)} == {}


def test_names_are_found_whether_they_are_introduced_or_merely_mentioned() -> None:
    for sentences in (INTRODUCED, MENTIONED):
        assert sum(covered(one, find(one.text)) for one in names(1, EACH, sentences)) / EACH >= LEAST


def test_who_is_greeted_has_a_name_unless_it_is_everybody() -> None:
    assert [one.kind for one in find("Hey Caroline! Merci, Étienne.")] == [Kind.NAME, Kind.NAME]
    assert find("Hello World, dear All, bonjour Monsieur, hey There") == []


def test_one_value_is_the_same_however_it_is_written() -> None:
    values = {find(text)[0].value for text in ("06 12 34 56 78", "06.12.34.56.78", "0612345678")}
    assert values == {"0612345678"}


def test_of_what_is_written_otherwise_it_is_known_how_much_is_missed() -> None:
    missed = [value for text, value in OTHERWISE if value in Scrubber().scrub(text)]
    assert missed == [
        "anna@localhost",
        "4155552671",
        "555-2671",
        "3 April 1984",
        "correct horse battery staple",
        "12 the Cedars, Leeds",
        "anna",
    ], "then the documents say something else"


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="a1 .@:/-+0<>_%&'éM\n", max_size=60))
def test_what_is_found_lies_in_order_and_apart(text: str) -> None:
    found = find(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
