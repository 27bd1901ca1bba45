"""What each step of the recipe adds: Spearman on STS of a decoder's mean-pooled states, causal to contrastive."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from bench.training.data import Pairs, apart, sentences
from bench.training.decoder import Shape, loss_per_byte, pretrained
from libs.shared.evaluation.ranks import spearman
from services.trainer import mntp, simcse
from services.trainer.bidirectional import make_bidirectional
from services.trainer.configuration import Mntp, Optimiser, SimCse
from services.trainer.lora import merged
from services.trainer.masking import vocabulary_of
from services.trainer.packing import packed, tokenized
from services.trainer.pooling import embed
from services.trainer.progress import Progress

STAGES = ("causal", "bidirectional, untrained", "+ MNTP", "+ SimCSE")
MNTP = Mntp(
    steps=400,
    micro_batch=32,
    gradient_checkpointing=False,
    block_tokens=64,
    optimiser=Optimiser(learning_rate=4e-3),
    report_steps=100,
    checkpoint_steps=1000,
)
SIMCSE = SimCse(
    steps=800,
    gradient_checkpointing=False,
    sentence_tokens=16,
    optimiser=Optimiser(learning_rate=3e-3),
    report_steps=100,
    checkpoint_steps=1000,
)


class Recipe(BaseModel):
    """A decoder and its trainings, whose rates are higher than published: those models are a thousand times larger."""

    model_config = ConfigDict(frozen=True)

    shape: Shape = Shape()
    mntp: Mntp = MNTP
    simcse: SimCse = SIMCSE

    def seeded(self, seed: int) -> Recipe:
        """The same, drawing from ``seed``."""
        mntp, simcse = (one.model_copy(update={"seed": seed}) for one in (self.mntp, self.simcse))
        return Recipe(shape=self.shape, mntp=mntp, simcse=simcse)


class Stage(BaseModel):
    """What an encoder was measured at."""

    spearman: dict[str, float]
    """x 100, for each split."""
    whitened: dict[str, float]
    """The same after the split's own vectors are made to vary alike in all directions: what weighing could reach."""
    cosine: float
    """Mean of any two sentences of the first split: 1 when all point one way."""
    processor_s: float
    """That it took to make it from the stage before."""


class Found(BaseModel):
    """One seed."""

    stages: dict[str, Stage]
    bits_per_byte: float
    """Of text that nothing was trained on, by the pretrained decoder."""
    losses: dict[str, float]
    """Mean of each training's last reported steps, in nats."""

    def lift(self, split: str) -> float:
        """Points of the last stage over the first."""
        first, last = (self.stages[name].spearman[split] for name in (STAGES[0], STAGES[-1]))
        return last - first


def ablation(
    paragraphs: Sequence[str], splits: Mapping[str, Pairs], recipe: Recipe, *, seed: int, cache: Path, runs: Path
) -> Found:
    """Every stage, measured on ``splits``, of which nothing was trained on. ``runs`` is an empty folder."""
    recipe = recipe.seeded(seed)
    texts, unread = apart(paragraphs)
    stages: dict[str, Stage] = {}
    losses: dict[str, float] = {}

    def measure(stage: str, encoder: Any, took: float) -> None:
        stages[stage] = measured(encoder, tokenizer, splits, took)
        said = ", ".join(f"{split} {value:.1f}" for split, value in stages[stage].spearman.items())
        print(f"seed {seed}: {stage}: {said}; {took:.0f} s of a processor", flush=True)

    with processor_time() as took:
        model, tokenizer = pretrained(recipe.shape, texts, cache, seed)
    bits = loss_per_byte(model, tokenizer, unread, recipe.shape.block_tokens)
    measure(STAGES[0], model, took())
    measure(STAGES[1], make_bidirectional(copy.deepcopy(model)), 0.0)
    with processor_time() as took:
        blocks = packed(tokenized(texts, tokenizer), recipe.mntp.block_tokens)
        tell = teller(seed, "MNTP", losses)
        adapted, _ = mntp.train(recipe.mntp, model, blocks, vocabulary_of(tokenizer), runs / "mntp", report=tell)
        model = merged(adapted)
    measure(STAGES[2], model, took())
    with processor_time() as took:
        rows = list(tokenized(sentences(texts), tokenizer))
        tell = teller(seed, "SimCSE", losses)
        adapted, _ = simcse.train(recipe.simcse, model, rows, tokenizer.pad_token_id, runs / "simcse", report=tell)
        model = merged(adapted)
    measure(STAGES[3], model, took())
    return Found(stages=stages, bits_per_byte=bits, losses=losses)


def measured(model: Any, tokenizer: Any, splits: Mapping[str, Pairs], processor_s: float) -> Stage:
    """An encoder on all splits."""
    vectors = {split: sides(model, tokenizer, pairs) for split, pairs in splits.items()}
    raw, white = (
        {split: 100 * spearman(by(*vectors[split]).numpy(), pairs.scores) for split, pairs in splits.items()}
        for by in (cosine_similarity, whitened)
    )
    together = normalize(torch.cat(next(iter(vectors.values()))), dim=-1).mean(dim=0)
    return Stage(spearman=raw, whitened=white, cosine=float(together @ together), processor_s=processor_s)


def sides(model: Any, tokenizer: Any, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """The vectors of both sides of ``pairs``."""
    first, second = (
        embed(model, list(tokenized(side, tokenizer)), padding=tokenizer.pad_token_id)
        for side in (pairs.first, pairs.second)
    )
    return first, second


def whitened(first: Tensor, second: Tensor) -> Tensor:
    """Cosines once all have mean nothing and vary alike in every direction (Su et al. 2021)."""
    both = torch.cat((first, second))
    both = both - both.mean(dim=0)
    left, _, _ = torch.linalg.svd(both, full_matrices=False)
    return cosine_similarity(*left.chunk(2))


@contextmanager
def processor_time() -> Iterator[Any]:
    """Seconds of this process on all processors, to be asked for afterwards."""
    began = time.process_time()
    yield lambda: time.process_time() - began


def teller(seed: int, name: str, losses: dict[str, float]) -> Any:
    """A report that prints a line and keeps the loss."""

    def line(progress: Progress) -> None:
        losses[name] = progress.loss
        pace = f"{progress.tokens_per_s:.0f} tokens/s, {progress.seconds_left:.0f} s left"
        print(f"seed {seed}: {name}: {progress.step}/{progress.steps}, loss {progress.loss:.3f}, {pace}", flush=True)

    return line
