"""What is merged: the same words in another order or with other courtesies, and never what differs in what matters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.optimizer.digesting import alike, making
from services.optimizer.digesting.alike import telling_key, telling_keys
from services.optimizer.digesting.making import Said, Telling

AT = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)

SAME = [
    ("I live in Lyon.", "By the way, I live in Lyon!"),
    ("I live in Lyon.", "Hey, as I said, in Lyon I live, thanks."),
    ("I run by the river on Sundays.", "On Sundays I run by the river"),
    ("If it rains we stay at home.".replace("it", "Ana"), "We stay at home if Ana rains."),
    ("I don't eat meat.", "I do not eat meat, you know."),
    ("I've got two cats.", "Actually, I have two cats."),
    ("I'm allergic to nuts.", "i am allergic to nuts"),
    ("My favourite color is blue.", "My favorite colour is blue."),
    ("I moved in on 3 May 2023.", "On 3 May 2023 I moved in."),
    ("J'habite à Lyon.", "Au fait, j'habite à Lyon, merci."),
    ("Le dimanche, je cours.", "Bonjour, le dimanche je cours !"),
]
DIFFERENT = [
    ("I have two cats.", "I have three cats."),
    ("I am 34.", "I am 35."),
    ("The code is 1.5.", "The code is 15."),
    ("We meet at 5:30.", "We meet at 5.30."),
    ("It cost me $5 in Lyon.".replace("It cost", "Lunch cost"), "Lunch cost me €5 in Lyon."),
    ("The low was -3 at home.", "The low was 3 at home."),
    ("I live in Lyon.", "I live in Nantes."),
    ("Ana told Bo.", "Bo told Ana."),
    ("Before tea I drink coffee.", "Before coffee I drink tea."),
    ("Ana in Lyon, Bo in Paris.", "In Lyon Bo, in Paris Ana."),
    ("I eat meat.", "I do not eat meat."),
    ("Not all students passed.", "All students passed not."),
    ("Only Ana eats fish at home.", "Ana eats only fish at home."),
    ("I live in Lyon.", "I lived in Lyon."),
    ("I live in Lyon.", "I want to live in Lyon."),
    ("I work with US people.", "I work with us people."),
    ("I got an A in school.", "I got an B in school."),
    ("I went there yesterday (7 May 2023).", "I went there yesterday (9 May 2023)."),
    ("My sister likes tea.", "My brother likes tea."),
    ("J'aime le thé.", "J'aime pas le thé."),
    ("Je vois Ana.", "Je la vois Ana."),
    ("I flew from Lyon in May with Bo in June.", "In June I flew from Lyon in May with Bo."),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_in_other_words_or_order_is_one_telling(one: str, other: str) -> None:
    assert telling_key(one, "user") == telling_key(other, "user")


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_in_what_matters_is_two(one: str, other: str) -> None:
    assert telling_key(one, "user") != telling_key(other, "user")


def test_what_two_people_say_is_never_one_telling() -> None:
    assert telling_key("I live in Lyon.", "Zoé") != telling_key("I live in Lyon.", "Mel")


def test_what_points_at_something_said_before_is_a_telling_of_its_own() -> None:
    told = ("It's one of my favourites.", "He lives in Lyon.", "I live in Lyon.")
    one, other = telling_keys(told, "user", "m1"), telling_keys(told, "user", "m2")
    assert [one[place : place + 8] == other[place : place + 8] for place in (0, 8, 16)] == [False, False, True]


# ---------------------------------------------------------------- properties

WORDS = ("live", "with", "cats", "my", "in", "saw", "tea", "river", "on", "before", "friend", "bought", "for", "when")
NAMES = ("Ana", "Bo", "Lyon", "Nantes", "Rex")
told = st.lists(st.sampled_from((*WORDS, *NAMES, "3", "17", "not", "never", "Monday")), min_size=1, max_size=10)


def sentence(words: Sequence[str]) -> str:
    return " ".join(words).capitalize() + "." if words[0] not in NAMES else " ".join(words) + "."


@settings(max_examples=300)
@given(told, st.data())
def check_a_number_a_name_a_day_or_a_not_is_never_merged_away(words: list[str], data: st.DataObject) -> None:
    """One of them is changed, left out or put in."""
    place = data.draw(st.integers(0, len(words)))
    marks = ("4", "18", "1.8", "Mel", "Paris", "not", "Tuesday", "without")
    mark = data.draw(st.sampled_from(marks))
    if data.draw(st.booleans()) and place < len(words):
        assume(words[place] in (*NAMES, "3", "17", "not", "never", "Monday"))
        other = [*words[:place], mark, *words[place + 1 :]]
    else:
        other = [*words[:place], mark, *words[place:]]
    assume(other != words)
    assert telling_key(sentence(words), "user") != telling_key(sentence(other), "user")


@settings(max_examples=200)
@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=10), st.data())
def check_what_has_a_word_more_is_never_merged(words: list[str], data: st.DataObject) -> None:
    """Wherever it stands."""
    place = data.draw(st.integers(0, len(words) - 1))
    fewer = [*words[:place], *words[place + 1 :]]
    assert telling_key(sentence(words), "user") != telling_key(sentence(fewer), "user")


@settings(max_examples=100)
@given(st.lists(st.sampled_from([one for pair in SAME for one in pair]), min_size=2, max_size=8), st.integers(0, 7))
def check_a_digest_says_nothing_of_another_memory(texts: list[str], place: int) -> None:
    """A memory's digest is what it would be if nothing else had ever been said: so forgetting another one is enough."""
    memories = [Said(message_id=f"m{n}", version=1, text=text, speaker="user", at=AT) for n, text in enumerate(texts)]
    place %= len(memories)
    assert making.digests(memories)[place] == making.digests([memories[place]])[0]


CHECKS: list[Callable[[], None]] = [
    check_a_number_a_name_a_day_or_a_not_is_never_merged_away,
    check_what_has_a_word_more_is_never_merged,
    check_a_digest_says_nothing_of_another_memory,
]


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__.removeprefix("check_") for check in CHECKS])
def test_merging(check: Callable[[], None]) -> None:
    check()


def without_numbers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(alike, "_WORD", re.compile(r"[^\W\d_]+"))


def without_nots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(alike, "_ARTICLES", alike._ARTICLES | {"not"})


def of_the_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(alike, "turned", lambda words: words[:2])


def with_links_to_others(patch: pytest.MonkeyPatch) -> None:
    """As if a merge were kept in the digests of its memories."""
    real = making.digests

    def linked(memories: Sequence[Said]) -> tuple[Telling, ...]:
        first: dict[bytes, str] = {}
        made = real(memories)
        names = [first.setdefault(one.keys, one.message_id) for one in made]
        return tuple(one.model_copy(update={"keys": name.encode()}) for one, name in zip(made, names, strict=True))

    patch.setattr(making, "digests", linked)


MUTATIONS = [
    (without_numbers, CHECKS[0]),
    (without_nots, CHECKS[0]),
    (of_the_beginning, CHECKS[1]),
    (with_links_to_others, CHECKS[2]),
]


@pytest.mark.parametrize(("mutation", "check"), MUTATIONS, ids=[mutation.__name__ for mutation, _ in MUTATIONS])
def test_the_check_notices(
    mutation: Callable[[pytest.MonkeyPatch], None], check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        check()
