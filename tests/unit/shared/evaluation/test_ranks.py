"""Rank correlation knows order alone, and what is equal shares a rank."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.evaluation.ranks import spearman


@given(values=st.lists(st.integers(-5, 5), min_size=3, max_size=30).filter(lambda one: len(set(one)) > 1))
def test_rank_correlation_knows_order_alone(values: list[int]) -> None:
    assert spearman(values, [one**3 for one in values]) == pytest.approx(1.0)
    assert spearman(values, [-one for one in values]) == pytest.approx(-1.0)


def test_equal_values_share_a_rank() -> None:
    """By hand: ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4."""
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5.0) ** 0.5)


def test_without_an_order_there_is_no_agreement() -> None:
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
