"""Tokens a second of the product's loop beside the published recipe and a tuned one, on the same weights and masks."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch.utils.data import Dataset

from services.trainer import mntp
from services.trainer.bidirectional import make_bidirectional
from services.trainer.configuration import Mntp, Optimiser
from services.trainer.lora import attach
from services.trainer.masking import BERT, Vocabulary, mask
from services.trainer.packing import order
from services.trainer.preparing import work_of
from services.trainer.progress import peak_flops
from services.trainer.run import seed_of

OURS, PUBLISHED, TUNED, COMPILED = "ours", "published", "tuned", "ours, compiled"
PEERS = (PUBLISHED, TUNED)
MASKING = Vocabulary(size=4096, mask_id=7, special_ids=(0, 1))


class Case(BaseModel):
    """A decoder with random weights, and what is trained on it."""

    model_config = ConfigDict(frozen=True)

    width: int = 256
    inner: int = 768
    layers: int = 6
    heads: int = 4
    vocabulary: int = 4096
    config: Mntp = Mntp(
        steps=10,
        batch=8,
        micro_batch=8,
        gradient_checkpointing=False,
        block_tokens=128,
        optimiser=Optimiser(learning_rate=2e-3),
    )
    warm_steps: int = 2
    """Left out of the figures: allocators and compilers warm up."""
    device: str = "cpu"
    half: bool = False
    """Weights in bfloat16."""


SMALL = Case()
SEVEN_B = Case(
    width=4096,
    inner=11008,
    layers=32,
    heads=32,
    vocabulary=32000,
    config=Mntp(steps=30, batch=32, micro_batch=8, gradient_checkpointing=False, block_tokens=512, compiled=True),
    warm_steps=5,
    device="cuda",
    half=True,
)
"""Llama 2 7B's shape, with D.1's batch; the published recipe alone has room for it at once."""
REHEARSAL = SEVEN_B.model_copy(
    update={
        "width": 64,
        "inner": 128,
        "layers": 2,
        "heads": 2,
        "vocabulary": 4096,
        "config": SEVEN_B.config.model_copy(update={"steps": 4, "batch": 8, "micro_batch": 2, "block_tokens": 32}),
        "warm_steps": 2,
        "device": "cpu",
    }
)
"""What is done on a GPU, in bfloat16, compiled and divided as there, but so small that a processor does it."""


class Moment(NamedTuple):
    """Seconds on the clock, and of this process on all processors."""

    clock: float
    processor: float


class Pace(NamedTuple):
    """Tokens for each second on the clock, and for each second of a processor: the latter says the same of a machine
    that is busy with other things, but nothing of a GPU."""

    clock: float
    processor: float


@dataclass
class Measured:
    """One run: when the steps after the warm ones began and the last ended, and the loss of each step."""

    at: list[Moment] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def pace(self, case: Case) -> Pace:
        """Over the steps after the warm ones."""
        tokens = (case.config.steps - case.warm_steps) * case.config.batch * case.config.block_tokens
        began, ended = self.at
        return Pace(tokens / (ended.clock - began.clock), tokens / (ended.processor - began.processor))


def model_of(case: Case) -> Any:
    """The same random weights each time."""
    transformers: Any = import_module("transformers")
    config = transformers.LlamaConfig(
        vocab_size=case.vocabulary,
        hidden_size=case.width,
        intermediate_size=case.inner,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        max_position_embeddings=4096,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(case.device):
        dtype = torch.bfloat16 if case.half else torch.float32
        return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")


def blocks_of(case: Case) -> Any:
    """Counting up from a random number in each row: something to learn, so that two losses can part."""
    rows, columns = 4 * case.config.batch, case.config.block_tokens
    starts = np.random.default_rng(0).integers(0, 200, rows)
    return 8 + (starts[:, None] + np.arange(columns)) % 200


def now(case: Case) -> Moment:
    """After what the device was given is done."""
    if case.device == "cuda":
        torch.cuda.synchronize()
    return Moment(time.perf_counter(), time.process_time())


def ours(case: Case, folder: Path, *, compiled: bool | None = None) -> Measured:
    """The product's loop, with its checkpoints at the beginning and the end; ``compiled`` None: as the case says."""
    measured, asked = Measured(), count()

    def stop() -> bool:
        """Asked before each step."""
        if next(asked) == case.warm_steps:
            measured.at.append(now(case))
        return False

    def report(progress: Any) -> None:
        """Told after the last step, before its checkpoint."""
        measured.at.append(now(case))

    changed = {"report_steps": case.config.steps, "checkpoint_steps": case.config.steps}
    if compiled is not None:
        changed["compiled"] = compiled
    config = case.config.model_copy(update=changed)
    _, outcome = mntp.train(config, model_of(case), blocks_of(case), MASKING, folder, report=report, stop=stop)
    measured.losses = outcome.losses
    return measured


class Rows(Dataset[dict[str, torch.Tensor]]):
    """What the published collator hands on, in the order in which the product's loop reads it: hidden input, labels for
    every position, and a mask that keeps all. Made before the clock runs."""

    def __init__(self, case: Case) -> None:
        config, blocks = case.config, blocks_of(case)
        self._rows: list[dict[str, torch.Tensor]] = []
        for step in range(config.steps):
            chosen = blocks[order(len(blocks), batch=config.batch, seed=config.seed, step=step)]
            batch = mask(chosen, recipe=BERT, vocabulary=MASKING, seed=config.seed, step=step)
            labels = np.full(chosen.size, -100)
            labels[batch.sources + 1] = batch.targets
            for ids, row_labels in zip(batch.ids, labels.reshape(chosen.shape), strict=True):
                row = {"input_ids": ids, "labels": row_labels, "attention_mask": np.ones_like(ids)}
                self._rows.append({name: torch.from_numpy(value) for name, value in row.items()})

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        return self._rows[at]


def published(case: Case, folder: Path, *, tuned: bool = False) -> Measured:
    """``experiments/run_mntp.py`` of McGill-NLP/llm2vec with its ``train_configs/mntp``, by the ``Trainer`` of today:
    activations computed twice, every logit; ``tuned`` drops the former, divides and compiles as the product does."""
    transformers: Any = import_module("transformers")
    config, model = case.config, make_bidirectional(model_of(case))
    adapted = attach(model, config.lora, seed=config.seed)
    measured = Measured()
    rows = (config.micro_batch or config.batch) if tuned else config.batch
    losses: list[torch.Tensor] = []

    class Trainer(transformers.Trainer):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **about: Any) -> Any:
            loss = super().compute_loss(*args, **about)
            losses.append(loss.detach())
            return loss

    class Steps(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
            torch.manual_seed(seed_of(config.seed, state.global_step))
            if state.global_step == case.warm_steps:
                measured.at.append(now(case))

        def on_train_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
            measured.at.append(now(case))

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=config.batch // rows,
        learning_rate=config.optimiser.learning_rate,
        optim="adamw_torch_fused",
        bf16=case.half,
        activation_checkpointing=not tuned,
        torch_compile=tuned and config.compiled,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        label_names=["labels"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=case.device == "cpu",
        seed=config.seed,
    )
    trainer = Trainer(
        model=adapted,
        args=arguments,
        train_dataset=Rows(case),
        data_collator=transformers.default_data_collator,
        callbacks=[Steps()],
    )
    trainer.train()
    measured.losses = torch.stack(losses).reshape(config.steps, -1).sum(dim=1).tolist()
    return measured


WAYS: dict[str, Callable[[Case, Path], Measured]] = {
    OURS: ours,
    PUBLISHED: published,
    TUNED: partial(published, tuned=True),
    COMPILED: partial(ours, compiled=True),
}


@dataclass(frozen=True)
class Comparison:
    """What a case came to: each way's pace in each round."""

    paces: dict[str, list[Pace]]
    losses: dict[str, list[float]]
    """Of each step, in the last round."""
    warm_s: dict[str, list[float]]
    """Of a processor, before the first step that counts: making the model, compiling, the warm steps."""
    apart: dict[str, float]
    """By how much of itself the peer's loss differs from ours, at the worst step."""
    mfu: float | None

    def ratios(self, peer: str) -> list[Pace]:
        """Ours over the peer's, of the runs next to each other."""
        both = zip(self.paces[OURS], self.paces[peer], strict=True)
        return [Pace(a.clock / b.clock, a.processor / b.processor) for a, b in both]

    def middle(self, peer: str) -> Pace:
        """The median ratios."""
        found = self.ratios(peer)
        return Pace(median(one.clock for one in found), median(one.processor for one in found))


def compare(case: Case, folder: Path, rounds: int, *, names: Sequence[str] = (OURS, *PEERS)) -> Comparison:
    """These ways, one after another in turn, ``rounds`` times; each round begins with another way."""
    if case.device == "cpu":
        # Threads that wait for each other use processor time too.
        torch.set_num_threads(1)
    paces: dict[str, list[Pace]] = {name: [] for name in names}
    warm: dict[str, list[float]] = {name: [] for name in names}
    losses: dict[str, list[float]] = {}
    for turn in range(rounds):
        for name in rotated(names, turn):
            began = time.process_time()
            measured = WAYS[name](case, folder / f"{name}-{turn}")
            warm[name].append(measured.at[0].processor - began)
            forget()
            paces[name].append(measured.pace(case))
            losses[name] = measured.losses
            print("  {}: {:.0f} tokens/s, {:.0f} a processor's second".format(name, *paces[name][-1]), flush=True)
    apart = {name: _apart(losses[OURS], losses[name]) for name in names if name in PEERS}
    return Comparison(paces, losses, warm, apart, _mfu(case, median(pace.clock for pace in paces[OURS])))


def forget() -> None:
    """Gives the last run's memory and compiled code back: the ``Trainer`` is held by itself in circles, and after some
    recompilations of one function the compiler would leave the next model as it is, without a word."""
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()


def rotated(names: Sequence[str], by: int) -> Iterator[str]:
    """The same names, beginning elsewhere."""
    return (names[(at + by) % len(names)] for at in range(len(names)))


def _apart(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) / b for a, b in zip(one, other, strict=True))


def _mfu(case: Case, pace: float) -> float | None:
    if case.device != "cuda" or (peak := peak_flops(torch.cuda.get_device_name())) is None:
        return None
    with torch.device("meta"):
        work = work_of(model_of(case.model_copy(update={"device": "meta"})))
    return pace * work.flops_per_token(case.config.block_tokens) / peak
