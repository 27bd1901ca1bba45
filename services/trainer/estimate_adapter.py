"""What an adapter's run will need of memory: weights, adapter, a row's way back, and its evaluation. Pure.

The run itself measures its longest row once the model is there, and computes as many at once as there is room for; this
is the least that it can do with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from libs.shared.contracts.training import AdapterOptions
from services.trainer.curation.exchanges import Example, Exchange
from services.trainer.estimate import FLOAT, Shape, does_not_fit, smaller_model

LEAST_ROW_TOKENS = 16
LEAST_RANK = 1
TEMPLATE_TOKENS = 64
"""Of a chat's template around an exchange, a model's own system prompt among them."""
EVALUATED_AT_ONCE = 8
"""Rows, as ``evaluation.measuring`` has it."""
EVALUATED_LOGITS = 2
"""Floats for each token of the vocabulary at an answer's token: the logit and its logarithm of softmax."""


def longest_tokens(examples: Iterable[Example | Exchange], row_tokens: int) -> int:
    """No more than so many tokens has the longest row: a token has a byte or more, and longer rows are left out."""
    lengths = (len(one.question.encode()) + len(one.answer.encode()) + TEMPLATE_TOKENS for one in examples)
    return min(row_tokens, max(lengths, default=LEAST_ROW_TOKENS))


def adapter_bytes(shape: Shape, rank: int, tokens: int, *, rows: int = 1, twice: bool = True) -> int:
    """By the hungrier of training, ``rows`` of ``tokens`` at once, and of evaluation. ``twice``: all but the layers'
    inputs is computed anew."""
    learnt = replace(shape, hidden=1.0).kept_bytes(rows * tokens, twice=twice, logits=True)
    a_token = EVALUATED_LOGITS * FLOAT * shape.vocabulary + FLOAT * (4 * shape.width + 2 * shape.inner)
    return shape.resident_with(rank) + max(learnt, EVALUATED_AT_ONCE * tokens * a_token)


def refuse_adapter_that_does_not_fit(shape: Shape, options: AdapterOptions, longest: int, free: int) -> None:
    """Raises ModelDoesNotFit with both figures, and with what would fit."""
    needed = adapter_bytes(shape, options.rank, longest)
    if needed > free:
        raise does_not_fit(needed, free, what_would_fit(shape, options, longest, free))


def what_would_fit(shape: Shape, options: AdapterOptions, longest: int, free: int) -> str:
    """The least change that makes it fit, in words: by halves, the rows first, then the rank."""
    tokens, rank = longest, options.rank
    while adapter_bytes(shape, rank, tokens) > free:
        if tokens > LEAST_ROW_TOKENS:
            tokens = max(LEAST_ROW_TOKENS, tokens // 2)
        elif rank > LEAST_RANK:
            rank = max(LEAST_RANK, rank // 2)
        else:
            return smaller_model(shape, free)
    said = [f"row_tokens {tokens} (longer exchanges are left out then)"] if tokens != longest else []
    return "it would fit with " + ", ".join(said + ([f"rank {rank}"] if rank != options.rank else []))
