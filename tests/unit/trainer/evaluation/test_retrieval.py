"""Recall counts what is among the nearest, whatever the vectors' lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.evaluation.retrieval import recall

MEMORIES = np.array([[1, 0], [0, 1], [-1, 0], [2, 0.1]], dtype=np.float32)


def test_recall_is_the_share_of_what_was_wanted() -> None:
    queries = np.array([[5, 0], [0, 3], [0, 1]], dtype=np.float32)
    assert recall(queries, MEMORIES, [[0, 3], [1, 2], [2]], 2).tolist() == [1.0, 0.5, 0.0]
    assert recall(queries[:1], MEMORIES, [[0, 3]], 1).tolist() == [0.5]


def test_a_query_that_wants_nothing_has_no_recall() -> None:
    assert math.isnan(recall(MEMORIES[:1], MEMORIES, [[]], 2)[0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 12))
def test_length_means_nothing_and_more_places_find_no_less(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    queries, memories = (draw.normal(size=(size, 4)).astype(np.float32) for size in (5, 12))
    wanted = [draw.choice(12, 3, replace=False).tolist() for _ in range(5)]
    found = recall(queries, memories, wanted, k)
    scaled = recall(queries * 7, memories * draw.uniform(0.5, 2, (12, 1)).astype(np.float32), wanted, k)
    assert scaled == pytest.approx(found)
    assert (recall(queries, memories, wanted, k + 1) >= found).all()
    assert (recall(queries, memories, wanted, 12) == 1.0).all()
