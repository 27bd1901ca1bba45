"""What an adapter must not make worse: that answers go on without repeating themselves, and text of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from libs.shared.evaluation.bootstrap import Comparison, Totals, compare_means, totals
from services.trainer.chat import Row
from services.trainer.masking import Tokens

REPETITION = "repeated four-token runs of its answers beyond those of the right ones"
TEXT_NATS = "nats of a token of other text"
RUN_TOKENS = 4
MOST_ASKED, ANSWER_TOKENS, PROMPT_TOKENS = 16, 64, 512
"""Questions that are answered for it, for so many tokens each; of a longer question the end is read."""
TOLERATED_REPETITION = 0.25
"""One that is stuck repeats nine runs of ten; small models repeat some, told greedily, and a little more once they have
learnt a manner."""
TOLERATED_NATS = 0.1
"""A tenth in perplexity: whoever learns one thing well unlearns a little of the others."""


def repetition(tokens: Sequence[int]) -> float:
    """Of the runs of four tokens, the share that stood there before (seq-rep-4, Welleck et al. 2020, §3). Pure."""
    runs = [tuple(tokens[at : at + RUN_TOKENS]) for at in range(len(tokens) - RUN_TOKENS + 1)]
    return 1.0 - len(set(runs)) / len(runs) if runs else 0.0


def compare_repetition(adapted: Any, rows: Sequence[Row], conversations: Sequence[str], end: int) -> Comparison:
    """Of greedy answers to questions that are held out, without the adapter and with it; ``end`` ends an answer. What
    people were answered may repeat itself, too (lists, code): only what goes beyond that counts."""
    chosen = spread(conversations, MOST_ASKED)
    prompts = [list(rows[at].ids[: rows[at].given])[-PROMPT_TOKENS:] for at in chosen]
    right = [repetition(rows[at].ids[rows[at].given :][:ANSWER_TOKENS]) for at in chosen]
    units = [conversations[at] for at in chosen]
    before, after = (
        totals([max(0.0, repetition(answer) - own) for answer, own in zip(answers, right, strict=True)], units)
        for answers in (_answers(adapted, prompts, end, how) for how in (adapted.disable_adapter(), None))
    )
    return compare_means(REPETITION, before, after, better="lower", tolerated=TOLERATED_REPETITION)


def spread(conversations: Sequence[str], most: int) -> list[int]:
    """Places of at most so many: the first of each conversation, then the second of each. Pure."""
    seen: dict[str, int] = {}
    turns = []
    for at, one in enumerate(conversations):
        seen[one] = seen.get(one, -1) + 1
        turns.append((seen[one], at))
    return sorted(at for _, at in sorted(turns)[:most])


def compare_text(adapted: Any, blocks: Tokens) -> Comparison:
    """Nats of a token of ``blocks`` (blocks x tokens), without the adapter and with it."""
    before, after = (_text_nats(adapted, blocks, how) for how in (adapted.disable_adapter(), None))
    return compare_means(TEXT_NATS, before, after, better="lower", unit="blocks of text", tolerated=TOLERATED_NATS)


def _answers(
    adapted: Any, prompts: Sequence[list[int]], end: int, without: AbstractContextManager[Any] | None
) -> list[list[int]]:
    was_training = adapted.training
    adapted.eval()
    width = max(map(len, prompts))
    # Padded before their beginnings, so that each goes on from its last token.
    ids = torch.tensor([[end] * (width - len(one)) + one for one in prompts], device=adapted.device)
    kept = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=adapted.device)
    with without or nullcontext(), torch.inference_mode():
        made = adapted.generate(
            input_ids=ids,
            attention_mask=kept,
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )
    adapted.train(was_training)
    answers = made[:, width:].tolist()
    return [one[: one.index(end)] if end in one else one for one in answers]


def _text_nats(adapted: Any, blocks: Tokens, without: AbstractContextManager[Any] | None) -> Totals:
    was_training = adapted.training
    adapted.eval()
    sums = []
    with without or nullcontext(), torch.inference_mode():
        for block in blocks:
            ids = torch.from_numpy(block).to(adapted.device)
            logits = adapted(input_ids=ids[None]).logits[0, :-1].float()
            sums.append(float(cross_entropy(logits, ids[1:], reduction="sum")))
    adapted.train(was_training)
    return Totals(np.asarray(sums), np.full(len(sums), float(blocks.shape[1] - 1)))
