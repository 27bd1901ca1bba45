"""Lines of a page become paragraphs; what each page repeats is told once."""

from __future__ import annotations

import pytest

from services.cognition.documents import pdf_lines
from services.cognition.documents.pdf_lines import full_width, paragraphs, vocabulary, without_furniture

BODY = ("The tenant pays the rent on the", "first day of the month.", "Nobody may keep bees.", "Cats are welcome.")
WORDS = ("ash", "beech", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak")


def book(pages: int) -> list[list[str]]:
    return [
        ["Lease of a garden", *(f"{line} {WORDS[n]}" for line in BODY), f"Page {n} of {pages}"]
        for n in range(1, pages + 1)
    ]


def test_running_heads_and_page_numbers_are_told_once() -> None:
    found = without_furniture(book(6))
    assert found.pages[0] == book(6)[0]
    assert found.pages[3] == [f"{line} {WORDS[4]}" for line in BODY]
    assert not found.only_furniture


def test_heads_that_change_from_left_to_right_are_furniture_too() -> None:
    pages = [["Lease" if n % 2 else "Garden", *(f"{line} {WORDS[n]}" for line in BODY)] for n in range(8)]
    assert [page[0] for page in without_furniture(pages).pages[2:]] == [f"{BODY[0]} {WORDS[n]}" for n in range(2, 8)]


def check_figures_stay(pages: list[list[str]]) -> None:
    assert without_furniture(pages).pages == pages


def test_a_line_whose_figures_differ_otherwise_stays() -> None:
    check_figures_stay(
        [[*(f"{line} {WORDS[n]}" for line in BODY), f"Total: {n * n * 7 + 3} euros"] for n in range(1, 7)]
    )


def test_taking_every_figure_for_a_page_number_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_lines, "_keys", lambda line, page: {"".join(c for c in line if not c.isdigit())})
    with pytest.raises(AssertionError):
        test_a_line_whose_figures_differ_otherwise_stays()


def test_two_pages_alike_are_no_proof() -> None:
    check_figures_stay([["Lease", *BODY], ["Lease", *BODY]])


def test_pages_with_nothing_but_a_stamp_are_known() -> None:
    assert without_furniture([["Scanned with a telephone"]] * 4).only_furniture
    assert without_furniture([[""], ["  "]]).only_furniture


@pytest.mark.parametrize(
    ("lines", "rest", "expected"),
    [
        (("the agree-", "ment holds"), "", "the agreement holds"),
        (("an agree\u00ad", "ment holds"), "", "an agreement holds"),
        (("a well-", "known man"), "a well-known woman", "a well-known man"),
        (("a well-", "known man"), "the wellknown one", "a wellknown man"),
        (("Que voulez-", "vous dire"), "", "Que voulez-vous dire"),
        (("le dépar-", "tement"), "", "le département"),
        (("pages 10-", "12 of it"), "", "pages 10-\n12 of it"),
        (("Mr. Smith-", "Jones came"), "", "Mr. Smith-\nJones came"),
    ],
)
def test_words_that_a_line_breaks_are_joined(lines: tuple[str, ...], rest: str, expected: str) -> None:
    known = vocabulary([lines, [rest]])
    found = " ".join(paragraphs(lines, 30, known))
    assert squeezed(found) == squeezed(expected)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_a_short_line_that_ends_a_sentence_ends_the_paragraph() -> None:
    lines = [
        "The tenant pays the rent on the first",
        "of the month.",
        "Nobody may keep bees in this house or",
        "garden.",
    ]
    assert paragraphs(lines, full_width([lines]), frozenset()) == [
        "The tenant pays the rent on the first of the month.",
        "Nobody may keep bees in this house or garden.",
    ]


def test_points_of_a_list_stay_apart() -> None:
    lines = ["What is needed for the whole journey", "• a passport", "• two coats", "1. money"]
    assert paragraphs(lines, 36, frozenset()) == lines


def test_no_letter_is_lost() -> None:
    lines = ["Invoice 12", "", "Two chairs   40", "One table    90", "Total", "130"]
    found = "".join(paragraphs(lines, 16, frozenset()))
    assert "".join(found.split()) == "".join("".join(lines).split())


def test_the_dots_of_a_table_of_contents_are_one_mark() -> None:
    assert pdf_lines.without_leaders("1 Rent . . . . . . . . 12") == "1 Rent …  12"
    assert pdf_lines.without_leaders("and so on...") == "and so on..."
