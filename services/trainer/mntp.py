"""Masked next-token prediction: a decoder learns to use the attention that it was given in both directions.

BehnamGhader et al. 2024 (LLM2Vec), §2.2 and D.1. Unlike the published script, the head and the loss
are computed at hidden positions alone, nothing is computed twice unless memory asks for it, and nothing waits for the
device inside a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from services.trainer.alone import alone
from services.trainer.bidirectional import family, make_bidirectional
from services.trainer.configuration import Mntp
from services.trainer.lora import attach, trainable
from services.trainer.masking import Masked, Tokens, Vocabulary, mask, recipe_of
from services.trainer.packing import order
from services.trainer.preparing import data_hash, fingerprint, planned, to_device, work_of
from services.trainer.run import Outcome, Report, Run, Stop, precision


def train(
    config: Mntp,
    model: Any,
    blocks: Tokens,
    vocabulary: Vocabulary,
    folder: Path,
    *,
    report: Report = lambda progress: None,
    stop: Stop = lambda: False,
) -> tuple[Any, Outcome]:
    """``model`` with an adapter around it, and how the run ended; begun in ``folder``, or resumed there.

    ``model`` is a Hugging Face decoder for causal language modelling, on its device; ``blocks`` (blocks x tokens) is
    what ``packing`` made of texts. Raises what ``alone``, ``make_bidirectional``, ``planned`` and ``checkpoints.read``
    raise.
    """
    with alone(folder):
        recipe = config.recipe or recipe_of(family(model))
        identity = {"model": fingerprint(model), "data": data_hash(blocks), "mask": str((vocabulary, recipe))}
        work = work_of(model)
        make_bidirectional(model)
        adapted = attach(model, config.lora, seed=config.seed)
        model.train()
        masked = partial(mask, recipe=recipe, vocabulary=vocabulary, seed=config.seed)
        row_loss = partial(hidden_loss, model, masked(blocks[:1], step=0))
        plan = planned(config, model, folder, row_loss)
        decoder = torch.compile(model.base_model) if config.compiled else model.base_model

        run = Run(config, folder, identity, trainable(adapted), blocks.shape[1], work, report, stop)
        for step in run.steps():
            rows = order(len(blocks), batch=config.batch, seed=config.seed, step=step)
            batch = masked(blocks[rows], step=step)
            loss = torch.zeros((), device=model.device)
            for part in parts(batch, plan.micro_batch):
                share = hidden_loss(model, part, decoder=decoder) / max(1, len(batch.targets))
                torch.autograd.backward(share)
                loss += share.detach()
            run.learn(loss, tokens=batch.ids.size)

        assert run.outcome is not None
        return adapted, run.outcome


def hidden_loss(model: Any, batch: Masked, *, decoder: Any = None) -> Tensor:
    """Sum of the cross-entropies, in nats, of the hidden tokens: each by the representation one position before it."""
    ids, sources, targets = (to_device(one, model.device) for one in (batch.ids, batch.sources, batch.targets))
    read = model.base_model if decoder is None else decoder
    with precision(model):
        states = read(input_ids=ids).last_hidden_state
        logits = head(model, states.flatten(0, 1).index_select(0, sources))
    return cross_entropy(logits.float(), targets, reduction="sum")


def head(model: Any, states: Tensor) -> Tensor:
    """The language model's own head, with the soft cap that Gemma 2 puts on its logits."""
    logits: Tensor = model.get_output_embeddings()(states)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def parts(batch: Masked, rows: int) -> Iterator[Masked]:
    """The batch, ``rows`` rows at a time."""
    width = batch.ids.shape[1]
    for start in range(0, len(batch.ids), rows):
        low, high = np.searchsorted(batch.sources, (start * width, (start + rows) * width))
        sources = batch.sources[low:high] - start * width
        yield Masked(batch.ids[start : start + rows], sources, batch.targets[low:high])
