"""An adapter that answers as people were answered, from the files of a run to the folder that inference reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from libs.shared.evaluation.decision import Verdict
from services.trainer.adapter import Made, make_adapter
from services.trainer.configuration import Lora, Optimiser, Sft
from services.trainer.curation import shelf
from services.trainer.encoder import Tell, figures, finished, load, other_blocks
from services.trainer.evaluation.figures import figures_of
from services.trainer.spec import AdapterSpec, RunSpec
from services.trainer.telling import Done


def train_adapter(
    spec: RunSpec, about: AdapterSpec, folder: Path, target: Path, tell: Tell, stop: Callable[[], bool]
) -> Done | None:
    """What came of it lies in ``target`` where the evaluation accepts it; None when it was stopped before its end.

    Begun in ``folder``, or taken up there. Raises DatasetBroken, ModelBroken, TrainingDiverged, and what
    ``make_adapter`` raises.
    """
    torch.set_num_threads(spec.threads)
    dataset = shelf.read(about.dataset)
    tell("loading")
    model, tokenizer = load(spec.model)
    tell("sft")
    made = make_adapter(
        configuration(spec.seed, about),
        model,
        tokenizer,
        dataset,
        folder / "sft",
        target,
        base=about.base,
        passes=about.options.passes,
        text=other_blocks(spec),
        report=partial(tell, "sft"),
        stop=stop,
    )
    if not finished(made.outcome):
        return None
    assert made.verdict is not None
    return Done(
        artefact=target.name if made.folder is not None else None,
        metrics=figures("sft", made.outcome) | measured(made.verdict) | figures_of(made.verdict) | _left_out(made),
        detail=made.verdict.reason,
    )


def configuration(seed: int, about: AdapterSpec) -> Sft:
    """Of the training, as it was asked for."""
    asked = about.options
    return Sft(
        seed=seed,
        batch=asked.batch,
        row_tokens=asked.row_tokens,
        lora=Lora(rank=asked.rank, alpha=2 * asked.rank),
        optimiser=Optimiser(learning_rate=asked.learning_rate),
        checkpoint_steps=asked.checkpoint_steps,
    )


def measured(verdict: Verdict) -> dict[str, float]:
    """The numbers that a verdict rests on, but for those that are none. Pure."""
    one = verdict.primary
    told = {
        "accepted": float(verdict.accepted),
        "held_out_nats_before": one.before,
        "held_out_nats_after": one.after,
        "held_out_gain": one.gain,
        "held_out_gain_low": one.low,
        "held_out_gain_high": one.high,
        "held_out_conversations": float(one.units),
    }
    return {name: value for name, value in told.items() if math.isfinite(value)}


def _left_out(made: Made) -> dict[str, float]:
    return {f"left_out_{why}": float(count) for why, count in sorted(made.left_out.items())}
