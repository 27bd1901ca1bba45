"""Unsupervised SimCSE: two readings of a sentence, under two draws of dropout, come closer than any two sentences.

Gao et al. 2021 (§3), as LLM2Vec uses it after masked next-token prediction (BehnamGhader et al. 2024, §2.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from services.trainer.alone import alone
from services.trainer.bidirectional import attention_layers, make_bidirectional
from services.trainer.configuration import SimCse
from services.trainer.lora import attach, trainable
from services.trainer.masking import padded
from services.trainer.packing import order
from services.trainer.pooling import mean
from services.trainer.preparing import data_hash, fingerprint, planned, to_device, work_of
from services.trainer.run import Outcome, Report, Run, Stop, precision


def train(
    config: SimCse,
    model: Any,
    sentences: Sequence[list[int]],
    padding: int,
    folder: Path,
    *,
    report: Report = lambda progress: None,
    stop: Stop = lambda: False,
) -> tuple[Any, Outcome]:
    """``model`` with a fresh adapter around it, and how the run ended; begun in ``folder``, or resumed there.

    ``model`` is what ``mntp.train`` made, with its adapter merged in; ``sentences`` are lists of tokens, ``padding``
    the token after their ends. Raises as ``mntp.train`` does. A batch isn't divided: each sentence is told from all.
    """
    with alone(folder):
        rows = [sentence[: config.sentence_tokens] for sentence in sentences]
        identity = {"model": fingerprint(model), "data": data_hash(rows)}
        work = work_of(model)
        make_bidirectional(model)
        adapted = attach(model, config.lora, seed=config.seed)
        set_dropout(model, config.dropout)
        model.train()
        longest = max(rows, key=len)
        row_loss = partial(contrast, model, [longest], padding, config.temperature)
        planned(config, model, folder, row_loss, divisible=False)

        mean_tokens = sum(map(len, rows)) // len(rows)
        run = Run(config, folder, identity, trainable(adapted), mean_tokens, work, report, stop)
        for step in run.steps():
            chosen = [rows[at] for at in order(len(rows), batch=config.batch, seed=config.seed, step=step)]
            loss = contrast(model, chosen, padding, config.temperature)
            torch.autograd.backward(loss)
            run.learn(loss, tokens=2 * sum(map(len, chosen)))

        set_dropout(model, 0.0)
        assert run.outcome is not None
        return adapted, run.outcome


def contrast(model: Any, rows: Sequence[list[int]], padding: int, temperature: float) -> Tensor:
    """Mean over ``rows`` of how surprising, in nats, its second reading is among all second readings, by cosine."""
    ids, kept = (to_device(one, model.device) for one in padded(rows, padding))
    with precision(model):
        # Both readings in one pass: dropout falls otherwise on each row.
        states = model.base_model(input_ids=ids.repeat(2, 1), attention_mask=kept.repeat(2, 1)).last_hidden_state
    first, second = normalize(mean(states.float(), kept.repeat(2, 1)), dim=-1).chunk(2)
    return cross_entropy(first @ second.T / temperature, torch.arange(len(rows), device=ids.device))


def set_dropout(model: Any, share: float) -> None:
    """Of attention weights, while the model trains: what the published script sets, and sets nothing else."""
    model.config.attention_dropout = share
    for layer in attention_layers(model):
        layer.attention_dropout = share
