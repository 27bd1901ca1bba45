"""What a model's held-out answers cost it, conversation by conversation, with its adapter and without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from libs.shared.durable import write_private
from libs.shared.evaluation.bootstrap import Comparison, Totals, compare_means, totals
from libs.shared.evaluation.decision import Verdict
from services.trainer.chat import Row
from services.trainer.sft import answer_losses, parts

FILE = "evaluation.json"
LOG_PERPLEXITY = "log perplexity of held-out answers"


def compare_perplexity(
    adapted: Any, rows: Sequence[Row], conversations: Sequence[str], *, batch: int = 8, seed: int = 0
) -> Comparison:
    """Nats a token of the held-out answers, without the adapter around ``adapted`` and with it; ``conversations`` says
    of which each row is."""
    before = answer_totals(adapted, rows, conversations, batch=batch, without=adapted.disable_adapter())
    after = answer_totals(adapted, rows, conversations, batch=batch)
    return compare_means(LOG_PERPLEXITY, before, after, better="lower", seed=seed)


def answer_totals(
    model: Any,
    rows: Sequence[Row],
    conversations: Sequence[str],
    *,
    batch: int = 8,
    without: AbstractContextManager[Any] | None = None,
) -> Totals:
    """Of each conversation, the nats of its answers' tokens and how many these are, in evaluation mode."""
    language_model = model.get_base_model() if hasattr(model, "get_base_model") else model
    was_training = model.training
    model.eval()
    values, units = [], []
    with without or nullcontext(), torch.inference_mode():
        for part in parts(list(zip(rows, conversations, strict=True)), batch, key=lambda one: len(one[0].ids)):
            values.append(answer_losses(language_model, [row for row, _ in part]).double().cpu().numpy())
            units += [conversation for row, conversation in part for _ in range(len(row.ids) - row.given)]
    model.train(was_training)
    return in_order(np.concatenate(values), units, conversations)


def in_order(values: Any, units: Sequence[str], conversations: Sequence[str]) -> Totals:
    """By conversation, in the order of ``conversations``, however they were read."""
    found = totals(values, units)
    places = {unit: at for at, unit in enumerate(dict.fromkeys(units))}
    chosen = [places[one] for one in dict.fromkeys(conversations)]
    return Totals(found.sums[chosen], found.counts[chosen])


def write(folder: Path, verdict: Verdict) -> Path:
    """The verdict with its numbers, beside the run that it is of; it names no conversation."""
    path = folder / FILE
    write_private(path, json.dumps(asdict(verdict), indent=2).encode() + b"\n")
    return path
