"""The ablation over several seeds, one after another or side by side, and how it is shown."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from bench.training.ablation import STAGES, Found, Recipe, ablation
from bench.training.data import Pairs


def chosen(shape: Sequence[str], mntp: Sequence[str], simcse: Sequence[str]) -> Recipe:
    """The recipe, but for what was told otherwise as NAME=VALUE; ``learning_rate`` is a name of the trainings too.

    Raises ValueError for a name or a value that isn't one.
    """
    default = Recipe()
    return Recipe(
        shape=_changed(default.shape, shape), mntp=_changed(default.mntp, mntp), simcse=_changed(default.simcse, simcse)
    )


def _changed(default: Any, told: Sequence[str]) -> Any:
    fields = default.model_dump()
    for one in told:
        name, _, value = one.partition("=")
        within = fields["optimiser"] if name == "learning_rate" and "optimiser" in fields else fields
        if name not in within:
            raise ValueError(f"{name!r} is none of {', '.join(fields)}")
        within[name] = value
    return type(default).model_validate(fields)


def measure_all(
    paragraphs: Sequence[str],
    splits: Mapping[str, Pairs],
    recipe: Recipe,
    seeds: Sequence[int],
    cache: Path | None,
    processes: int,
) -> list[Found]:
    """One result a seed, ``processes`` seeds at a time, each on one thread."""
    with tempfile.TemporaryDirectory() as aside:
        one = partial(_one, paragraphs, splits, recipe, cache or Path(aside), Path(aside))
        if processes == 1:
            return [one(seed) for seed in seeds]
        # A forked child would share the threads that torch has begun here.
        spawning = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=spawning) as pool:
            return list(pool.map(one, seeds))


def _one(
    paragraphs: Sequence[str], splits: Mapping[str, Pairs], recipe: Recipe, cache: Path, aside: Path, seed: int
) -> Found:
    # Threads that wait for each other use processor time too, and beside other work most of all.
    torch.set_num_threads(1)
    cache.mkdir(parents=True, exist_ok=True)
    return ablation(paragraphs, splits, recipe, seed=seed, cache=cache, runs=aside / f"seed-{seed}")


def rows(found: Sequence[Found], splits: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The table's, a stage each."""
    for name in STAGES:
        stages = [one.stages[name] for one in found]
        scores = [_spread([stage.spearman[split] for stage in stages]) for split in splits]
        white = [_spread([stage.whitened[split] for stage in stages]) for split in splits]
        cosine, took = fmean(stage.cosine for stage in stages), fmean(stage.processor_s for stage in stages)
        yield (name, *scores, *white, f"{cosine:.2f}", f"{took:.0f}")


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
