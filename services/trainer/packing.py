"""Texts laid end to end and cut into blocks of one length, and the order in which a run reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from libs.shared.errors import InvalidRequest
from services.trainer.masking import Tokens

BATCH = 1000
"""Texts that a tokenizer is given at once."""


def tokenized(texts: Iterable[str], tokenizer: Any) -> Iterator[list[int]]:
    """The tokens of each text that isn't blank, with what the tokenizer puts around a text."""
    batch: list[str] = []
    for text in texts:
        if text.strip():
            batch.append(text)
        if len(batch) == BATCH:
            yield from tokenizer(batch)["input_ids"]
            batch = []
    if batch:
        yield from tokenizer(batch)["input_ids"]


def packed(documents: Iterable[list[int]], block_tokens: int) -> Tokens:
    """Blocks x ``block_tokens``: no token is padding, and a text may begin in the middle of a block.

    The tail that fills no block is dropped, as the published script does. Raises InvalidRequest when nothing is left.
    """
    flat = np.fromiter(chain.from_iterable(documents), dtype=np.int64)
    blocks = len(flat) // block_tokens
    if blocks == 0:
        raise InvalidRequest(f"{len(flat)} tokens of text fill no block of {block_tokens}")
    return flat[: blocks * block_tokens].reshape(blocks, block_tokens)


def order(count: int, *, batch: int, seed: int, step: int) -> Tokens:
    """Which of ``count`` rows step ``step`` (from 0) reads: a fresh shuffle each time all were read, none left out.

    Raises InvalidRequest when there are fewer rows than a batch holds.
    """
    if count < batch:
        raise InvalidRequest(f"{count} rows of text are fewer than a batch of {batch}")
    first = step * batch
    passes = range(first // count, (first + batch - 1) // count + 1)
    drawn = np.concatenate([np.random.default_rng((seed, one)).permutation(count) for one in passes])
    start = first - passes[0] * count
    return drawn[start : start + batch].astype(np.int64)
