"""Where a resent history goes on."""

from __future__ import annotations

import pytest

from services.persistence.joining import Heard, Place, comparable, place_of

LONG = "a sentence that is long enough to be known by itself"


def tree(*branches: str, conversation: str = "c", since: int = 0) -> list[Place]:
    """Kept messages, each named by its words; ``a b>c`` is c under b, and a name stands for its own parent's way."""
    places: dict[str, Place] = {}
    for branch in branches:
        parent: str | None = None
        for words in branch.split(">"):
            name = f"{parent}>{words}" if parent else f"{conversation}:{words}"
            places.setdefault(name, Place(name, parent, conversation, words.encode(), since + len(places)))
            parent = name
    return list(places.values())


def history(*said: str) -> list[Heard]:
    return [Heard(words.encode(), len(words)) for words in said]


def ends_at(said: tuple[str, ...], kept: list[Place]) -> str | None:
    place = place_of(history(*said), kept)
    return place.message_id if place else None


@pytest.mark.parametrize(
    ("said", "place"),
    [
        (("q1", "a1"), "c:q1>a1"),
        (("q1", "a1", "q2", "a2"), "c:q1>a1>q2>a2"),
        (("q2", "a2"), "c:q1>a1>q2>a2"),  # the older turns were cut off
        (("q1", "a1", "q2", "another answer"), "c:q1>a1>q2"),
        (("q1", "a1", "another question", "a2"), "c:q1>a1"),
        (("q1", "a1", "said elsewhere", "answered elsewhere"), "c:q1>a1"),
        (("said elsewhere", "answered elsewhere"), None),
        (("q1",), None),  # two short words tell nothing
        (("q1", "answered elsewhere"), None),
        ((), None),
    ],
)
def test_a_history_goes_on_where_it_last_agrees(said: tuple[str, ...], place: str | None) -> None:
    assert ends_at(said, tree("q1>a1>q2>a2")) == place


def test_a_long_message_is_known_by_itself() -> None:
    assert ends_at((LONG,), tree(f"q1>{LONG}")) == f"c:q1>{LONG}"


def test_of_conversations_that_say_the_same_the_one_that_agrees_longest_is_taken() -> None:
    kept = [*tree("q1>ok>q2>ok"), *tree("other>ok>q2>ok", conversation="d", since=10)]
    assert ends_at(("q1", "ok", "q2", "ok"), kept) == "c:q1>ok>q2>ok"


def test_of_two_that_agree_as_long_the_newer_is_taken() -> None:
    kept = [*tree("hi>hello"), *tree("hi>hello", conversation="d", since=10)]
    assert ends_at(("hi", "hello"), kept) == "d:hi>hello"


def test_a_message_without_words_is_never_the_place() -> None:
    assert place_of([Heard(None, 0), Heard(None, 0)], tree("q1>a1")) is None


@pytest.mark.parametrize(
    "sent",
    [
        "It is 4.",
        "  It   is\n\n4. ",
        "<think>two and two…</think>\n\nIt is 4.",
        "<thinking>two\nand two</thinking>It is 4.",
        '<details type="reasoning" done="true" duration="2">\n<summary>Thought</summary>\n&gt; 2\n</details>\nIt is 4.',
    ],
)
def test_thoughts_and_white_space_make_no_difference(sent: str) -> None:
    assert comparable(sent) == "It is 4."


def test_a_tag_that_is_not_closed_is_a_word() -> None:
    assert comparable("<think> is a tag") == "<think> is a tag"
