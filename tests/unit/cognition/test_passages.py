"""Documents are cut into passages without losing a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.keeping import Passage
from services.cognition.documents import passages
from services.cognition.documents.blocks import Block
from services.cognition.documents.passages import BODY_TOKENS, HEADING_TOKENS, PATH, cut, measure_of

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=400)
SENTENCES = st.lists(
    st.sampled_from(
        ["The rent is 850 euros.", "Le loyer, payable d'avance, est de 850 €!", "東京は雨です。", "x" * 300]
    )
)
BLOCKS = st.lists(
    st.builds(
        Block,
        st.one_of(WORDS, SENTENCES.map(" ".join), SENTENCES.map("\n\n".join)).filter(str.strip),
        st.integers(0, 3),
        st.one_of(st.none(), st.integers(1, 3)),
    ),
    max_size=12,
)


def squeezed(text: str) -> str:
    return "".join(text.split())


def check_nothing_is_lost(blocks: list[Block], found: tuple[Passage, ...]) -> None:
    """Leaving out the headings that a passage is told, the passages are the document."""
    bodies = [squeezed(draft.text) for draft in passages._drafts(blocks, measure_of(blocks))]
    assert all(bodies)
    assert "".join(bodies) == squeezed("".join(block.text for block in blocks))
    for passage, body in zip(found, bodies, strict=True):
        assert squeezed(passage.text).endswith(body)


@given(BLOCKS)
def test_no_word_is_lost_or_moved(blocks: list[Block]) -> None:
    check_nothing_is_lost(blocks, cut(blocks))


def test_losing_a_piece_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = passages._pieces
    monkeypatch.setattr(passages, "_pieces", lambda *a, **k: list(whole(*a, **k))[:-1] or ["x"])
    blocks = [Block("The rent is 850 euros. " * 60)]
    with pytest.raises(AssertionError):
        check_nothing_is_lost(blocks, cut(blocks))


@given(BLOCKS)
def test_every_passage_can_be_embedded_whole(blocks: list[Block]) -> None:
    measure = measure_of(blocks)
    for passage in cut(blocks):
        assert measure(passage.text) <= BODY_TOKENS + HEADING_TOKENS + 2
        assert passage.text.strip()


@given(BLOCKS)
def test_a_passage_is_of_one_page(blocks: list[Block]) -> None:
    on_page: dict[int | None, str] = {}
    for block in blocks:
        on_page[block.page] = on_page.get(block.page, "") + squeezed(block.text)
    for passage in cut(blocks):
        body = squeezed(passage.text)
        inner = squeezed(passage.text.partition("\n\n")[2])
        assert body in on_page[passage.page] or inner in on_page[passage.page]


def test_a_passage_is_told_what_it_stands_under() -> None:
    long = "The tenant pays the rent on the first day. " * 30
    found = cut([Block("Lease", 1), Block("Rent", 2), Block(long), Block("Deposit", 2), Block("Two months.")])
    assert found[0].text.startswith("Lease\n\nRent\n\nThe tenant")
    assert found[1].text.startswith(f"Lease{PATH}Rent\n\nThe tenant")
    assert found[-1].text == "Lease\n\nDeposit\n\nTwo months."


def test_a_section_begins_a_passage_of_its_own() -> None:
    found = cut([Block("Rent", 1), Block("850 euros."), Block("Deposit", 1), Block("Two months.")])
    assert [passage.text for passage in found] == ["Rent\n\n850 euros.", "Deposit\n\nTwo months."]


def test_short_paragraphs_share_a_passage_and_sentences_stay_whole() -> None:
    assert len(cut([Block(f"Point {n} is short.") for n in range(5)])) == 1
    for passage in cut([Block("The tenant pays the rent on the first working day of the month. " * 40)]):
        assert passage.text.endswith("month.")
