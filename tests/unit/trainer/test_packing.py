"""Blocks hold every token once and no padding; an order reads every row before any again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared.errors import InvalidRequest
from services.trainer.packing import order, packed, tokenized

DOCUMENTS = st.lists(st.lists(st.integers(0, 99), max_size=30), max_size=20)


@settings(max_examples=60, deadline=None)
@given(documents=DOCUMENTS, block=st.integers(1, 16))
def test_blocks_are_the_texts_end_to_end(documents: list[list[int]], block: int) -> None:
    flat = [token for document in documents for token in document]
    if len(flat) < block:
        with pytest.raises(InvalidRequest, match="fill no block"):
            packed(documents, block)
        return
    found = packed(documents, block)
    assert found.shape == (len(flat) // block, block)
    assert found.reshape(-1).tolist() == flat[: found.size]


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 40), batch=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_every_row_is_read_before_any_is_read_again(count: int, batch: int, seed: int) -> None:
    if count < batch:
        with pytest.raises(InvalidRequest, match="fewer than a batch"):
            order(count, batch=batch, seed=seed, step=0)
        return
    steps = 3 * count // batch + 1
    read = np.concatenate([order(count, batch=batch, seed=seed, step=step) for step in range(steps)])
    for start in range(0, len(read) - count + 1, count):
        assert sorted(read[start : start + count]) == list(range(count))


def test_another_seed_reads_in_another_order() -> None:
    assert order(100, batch=100, seed=1, step=0).tolist() != order(100, batch=100, seed=2, step=0).tolist()
    assert order(100, batch=100, seed=1, step=0).tolist() != order(100, batch=100, seed=1, step=1).tolist()


def test_blank_texts_are_left_out() -> None:
    def tokenizer(texts: list[str]) -> dict[str, Any]:
        return {"input_ids": [[len(text)] for text in texts]}

    texts = ["one", " \n", "", "three", *["x"] * 1000]
    assert list(tokenized(texts, tokenizer)) == [[3], [5], *[[1]] * 1000]
