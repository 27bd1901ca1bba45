"""A plain text as paragraphs and sentences."""

from __future__ import annotations

from services.trainer.texts import paragraphs, sentences


def test_blank_lines_are_no_paragraphs() -> None:
    assert paragraphs("  One.\n\n\t\nTwo. \r\nThree.") == ["One.", "Two.", "Three."]


def test_sentences_end_where_people_end_them() -> None:
    line = (
        'She asked: "Is it far to the sea?" He said no, it is near. Über den Bergen ist es weit. « Où est-ce donc ? »'
    )
    assert sentences([line]) == [
        'She asked: "Is it far to the sea?"',
        "He said no, it is near.",
        "Über den Bergen ist es weit.",
        "« Où est-ce donc ? »",
    ]


def test_an_abbreviation_ends_no_sentence() -> None:
    assert sentences(["It takes several, e.g. this one and that one."]) == [
        "It takes several, e.g. this one and that one."
    ]


def test_fragments_monsters_and_repetitions_are_left_out() -> None:
    long = " ".join(["word"] * 61) + "."
    assert sentences(["Too short.", f"This one is long enough. {long}", "This one is long enough."]) == [
        "This one is long enough."
    ]
