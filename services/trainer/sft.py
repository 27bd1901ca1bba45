"""Supervised fine-tuning: a decoder learns to answer as it was answered, by a LoRA adapter.

Each example is a row of its own, padded on its right. Attention stays causal, so that no token sees padding, and none
another example: nothing is packed together. A step's rows are computed in parts of like length. The head and the loss
are computed at the answer's tokens alone (Ouyang et al. 2022, §3.4, train on demonstrations likewise).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from libs.shared.errors import InvalidRequest
from services.trainer.alone import alone
from services.trainer.bidirectional import family
from services.trainer.chat import Row
from services.trainer.configuration import Sft
from services.trainer.lora import attach, trainable
from services.trainer.masking import padded
from services.trainer.mntp import head
from services.trainer.packing import order
from services.trainer.preparing import data_hash, fingerprint, planned, to_device, work_of
from services.trainer.run import Outcome, Report, Run, Stop, precision

PADDING = 0
"""Any token will do: nothing looks at it."""
Item = TypeVar("Item")


def tokens(row: Row) -> int:
    """Of question and answer."""
    return len(row.ids)


def fitted(config: Sft, count: int, *, passes: float = 3.0) -> Sft:
    """``config`` for ``count`` rows: a batch of no more than there are, and as many steps as read each ``passes``
    times. Raises InvalidRequest for no rows."""
    if count == 0:
        raise InvalidRequest("no exchange is left to train on: all are too long, or hold a chat's own control tokens")
    batch = min(config.batch, count)
    return config.model_copy(update={"batch": batch, "steps": max(1, math.ceil(passes * count / batch))})


def train(
    config: Sft,
    model: Any,
    rows: Sequence[Row],
    folder: Path,
    *,
    report: Report = lambda progress: None,
    stop: Stop = lambda: False,
) -> tuple[Any, Outcome]:
    """``model`` with an adapter around it, and how the run ended; begun in ``folder``, or resumed there.

    ``model`` is a Hugging Face decoder for causal language modelling, on its device; ``rows`` are what ``chat`` made of
    exchanges. Raises what ``alone``, ``family``, ``planned``, ``order`` and ``checkpoints.read`` raise.
    """
    with alone(folder):
        family(model)
        identity = {"model": fingerprint(model), "data": data_hash((row.given, *row.ids) for row in rows)}
        work = work_of(model)
        adapted = attach(model, config.lora, seed=config.seed)
        model.train()
        longest = max(rows, key=tokens)
        plan = planned(config, model, folder, partial(answer_loss, model, [longest]))

        mean_tokens = sum(map(tokens, rows)) // len(rows)
        run = Run(config, folder, identity, trainable(adapted), mean_tokens, work, report, stop)
        for step in run.steps():
            chosen = [rows[at] for at in order(len(rows), batch=config.batch, seed=config.seed, step=step)]
            learnt = sum(len(row.ids) - row.given for row in chosen)
            loss = torch.zeros((), device=model.device)
            for part in parts(chosen, plan.micro_batch, key=tokens):
                share = answer_loss(model, part) / learnt
                torch.autograd.backward(share)
                loss += share.detach()
            run.learn(loss, tokens=sum(map(tokens, chosen)))

        assert run.outcome is not None
        return adapted, run.outcome


def parts(rows: Sequence[Item], count: int, *, key: Callable[[Item], int]) -> Iterator[Sequence[Item]]:
    """The rows, ``count`` at a time, those of like length (``key``) together."""
    by_length = sorted(rows, key=key)
    return (by_length[start : start + count] for start in range(0, len(rows), count))


def answer_loss(model: Any, rows: Sequence[Row]) -> Tensor:
    """Sum of the cross-entropies, in nats, of the answers' tokens, each by all tokens before it in its own row."""
    return answer_losses(model, rows).sum()


def answer_losses(model: Any, rows: Sequence[Row]) -> Tensor:
    """Of each token of the answers, row after row."""
    ids, _ = padded((list(row.ids) for row in rows), PADDING)
    width = ids.shape[1]
    places = [at * width + token for at, row in enumerate(rows) for token in range(row.given, len(row.ids))]
    there = np.asarray(places, dtype=np.int64)
    targets, sources = (to_device(one, model.device) for one in (ids.reshape(-1)[there], there - 1))
    with precision(model):
        states = model.base_model(input_ids=to_device(ids, model.device), use_cache=False).last_hidden_state
        logits = head(model, states.flatten(0, 1).index_select(0, sources))
    return cross_entropy(logits.float(), targets, reduction="none")
