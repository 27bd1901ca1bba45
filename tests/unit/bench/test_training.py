"""What the training benchmark reads and counts; its figures are the command's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.training.data import documents, pairs, plain, sentences, spearman


def test_tokenised_text_is_read_as_people_write_it() -> None:
    assert plain(" The price ( about $ 4 @.@ 50 ) fell , he didn 't say <unk> why . \n") == (
        "The price (about $4.50) fell, he didn 't say why."
    )


def test_headings_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "valid.txt"
    path.write_text(" \n = Lobsters = \n \n They live in the sea . They are blue when alive . \n = = Diet = = \n")
    assert documents([path]) == ["They live in the sea. They are blue when alive."]
    assert sentences(documents([path])) == ["They live in the sea.", "They are blue when alive."]
    assert sentences(["Too short. " + "far too long " * 40]) == []


def test_pairs_keep_their_scores(tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    path.write_text('main-captions\tMSRvid\t2012test\t0000\t5.000\tA "hard" hat.\tA hat.\tlicence\n')
    found = pairs(path)
    assert (found.first, found.second, found.scores) == (['A "hard" hat.'], ["A hat."], [5.0])


@given(values=st.lists(st.integers(-5, 5), min_size=3, max_size=30).filter(lambda one: len(set(one)) > 1))
def test_rank_correlation_knows_order_alone(values: list[int]) -> None:
    assert spearman(values, [one**3 for one in values]) == pytest.approx(1.0)
    assert spearman(values, [-one for one in values]) == pytest.approx(-1.0)


def test_equal_values_share_a_rank() -> None:
    """By hand: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4."""
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5.0) ** 0.5)
