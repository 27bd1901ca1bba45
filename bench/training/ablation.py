"""What each step of the recipe adds: Spearman on STS of a decoder's mean-pooled states, causal to contrastive."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from bench.training.data import Pairs
from bench.training.decoder import Shape, pretrained
from services.trainer import mntp, simcse
from services.trainer.bidirectional import make_bidirectional
from services.trainer.configuration import Mntp, Optimiser, SimCse
from services.trainer.evaluation.ranks import spearman
from services.trainer.lora import merged
from services.trainer.masking import vocabulary_of
from services.trainer.packing import packed, tokenized
from services.trainer.pooling import embed
from services.trainer.progress import Progress

STAGES = ("causal", "bidirectional, untrained", "+ MNTP", "+ SimCSE")


@dataclass(frozen=True)
class Recipe:
    """The two trainings; both need a higher rate than the published runs, whose models are a thousand times larger."""

    mntp: Mntp
    simcse: SimCse


def recipe(seed: int, *, steps: int, contrast_steps: int, shape: Shape) -> Recipe:
    """For a decoder of ``shape``."""
    return Recipe(
        Mntp(
            seed=seed,
            steps=steps,
            batch=32,
            micro_batch=32,
            gradient_checkpointing=False,
            block_tokens=shape.block_tokens,
            optimiser=Optimiser(learning_rate=4e-3),
            report_steps=100,
            checkpoint_steps=1000,
        ),
        SimCse(
            seed=seed,
            steps=contrast_steps,
            batch=128,
            micro_batch=128,
            gradient_checkpointing=False,
            sentence_tokens=32,
            optimiser=Optimiser(learning_rate=3e-3),
            report_steps=20,
            checkpoint_steps=1000,
        ),
    )


def ablation(
    texts: Sequence[str],
    sentences: Sequence[str],
    pairs: Pairs,
    *,
    shape: Shape,
    chosen: Recipe,
    cache: Path,
    runs: Path,
) -> dict[str, float]:
    """Stage → Spearman x 100 on ``pairs``, which no stage was trained on."""
    seed = chosen.mntp.seed
    model, tokenizer = pretrained(shape, texts, cache, seed)
    padding = tokenizer.pad_token_id

    def measured(encoder: Any) -> float:
        return 100 * agreement(encoder, tokenizer, pairs)

    found = {STAGES[0]: measured(model)}
    found[STAGES[1]] = measured(make_bidirectional(copy.deepcopy(model)))
    blocks = packed(tokenized(texts, tokenizer), shape.block_tokens)
    adapted, _ = mntp.train(
        chosen.mntp, model, blocks, vocabulary_of(tokenizer), runs / f"mntp-{seed}", report=tell("MNTP")
    )
    model = merged(adapted)
    found[STAGES[2]] = measured(model)
    rows = list(tokenized(sentences, tokenizer))
    adapted, _ = simcse.train(chosen.simcse, model, rows, padding, runs / f"simcse-{seed}", report=tell("SimCSE"))
    found[STAGES[3]] = measured(merged(adapted))
    return found


def agreement(model: Any, tokenizer: Any, pairs: Pairs) -> float:
    """Spearman of the cosine of two sentences' vectors with what people said."""
    first, second = (
        embed(model, list(tokenized(side, tokenizer)), padding=tokenizer.pad_token_id)
        for side in (pairs.first, pairs.second)
    )
    with torch.inference_mode():
        return spearman(cosine_similarity(first, second).numpy(), pairs.scores)


def tell(name: str) -> Any:
    """A report that prints a line."""

    def line(progress: Progress) -> None:
        pace = f"{progress.tokens_per_s:.0f} tokens/s, {progress.seconds_left:.0f} s left"
        print(f"  {name}: {progress.step}/{progress.steps}, loss {progress.loss:.3f}, {pace}", flush=True)

    return line
