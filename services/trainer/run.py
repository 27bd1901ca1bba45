"""What every training loop does around its loss: the optimiser's step, reports, checkpoints, and when it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from libs.shared.durable import write_private
from services.trainer import checkpoints, plot
from services.trainer.checkpoints import State
from services.trainer.configuration import Optimiser, Training
from services.trainer.lora import Parameters
from services.trainer.progress import Progress, Work, peak_flops, trouble

Report = Callable[[Progress], None]
Stop = Callable[[], bool]
PROGRESS_FILE = "progress.jsonl"


@dataclass(frozen=True)
class Outcome:
    """How a run ended, after ``step`` steps that count; ``losses`` is one number a step.

    ``stopped``: it was asked to, and resumes from where it was. ``diverged``: ``reason`` says how, and the weights are
    those of the last checkpoint.
    """

    ended: Literal["finished", "stopped", "diverged"]
    step: int
    losses: list[float]
    reason: str = ""


def seed_of(seed: int, step: int) -> int:
    """What torch draws from in a step: dropout of a resumed run falls as it would have."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)


def rate(optimiser: Optimiser, step: int, steps: int) -> float:
    """Learning rate of step ``step``, from 0: up in a line while it warms up, then down in a line to nothing."""
    if step < optimiser.warmup_steps:
        return optimiser.learning_rate * step / optimiser.warmup_steps
    last = optimiser.decay_steps or steps
    return optimiser.learning_rate * max(0.0, (last - step) / max(1, last - optimiser.warmup_steps))


def precision(model: Any) -> AbstractContextManager[Any]:
    """Where a step is computed: in bfloat16 when the model's own weights are in it, beside an adapter in float32."""
    if model.dtype is not torch.bfloat16:
        return nullcontext()
    return torch.autocast(model.device.type, dtype=torch.bfloat16)


@dataclass
class Run:
    """A run in ``folder``, begun or resumed."""

    config: Training
    folder: Path
    identity: dict[str, str]
    """What the run trains on what and how, beside its configuration."""
    parameters: Parameters
    row_tokens: int
    work: Work
    report: Report = lambda progress: None
    stop: Stop = lambda: False
    clock: Callable[[], float] = time.perf_counter
    outcome: Outcome | None = None
    _step: int = 0
    _losses: list[float] = field(default_factory=list)
    _unread: list[Tensor] = field(default_factory=list)
    """Losses that are still on the device."""
    _told: int = 0
    """The step after which was last reported; time and tokens are counted from there."""
    _tokens: int = 0
    _since: float = 0.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = self.config.model_dump_json(exclude={"report_steps", "checkpoint_steps", "micro_batch"})
        self.identity = self.identity | {"configuration": wanted}
        about = self.config.optimiser
        self._optimiser = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=about.learning_rate,
            betas=about.betas,
            eps=about.epsilon,
            weight_decay=about.weight_decay,
            fused=True,
        )
        self._device = next(iter(self.parameters.values())).device
        self._peak = peak_flops(torch.cuda.get_device_name(self._device)) if self._device.type == "cuda" else None
        self._restore()

    def steps(self) -> Iterator[int]:
        """The steps that are left, from 0; each is over when ``learn`` was called. ``outcome`` is set at the end."""
        self._begin_counting()
        while self.outcome is None:
            if self._step >= self.config.steps:
                self._end("finished")
            elif self.stop():
                self._read()
                self._checkpoint()
                self._end("stopped")
            else:
                torch.manual_seed(seed_of(self.config.seed, self._step))
                yield self._step

    def learn(self, loss: Tensor, tokens: int) -> None:
        """One step of the optimiser along the gradients that are there; ``tokens`` were read for it."""
        self._set_rate()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.optimiser.gradient_norm, foreach=True)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._unread.append(loss.detach())
        self._step += 1
        self._tokens += tokens
        last = self._step == self.config.steps
        if last or self._step % self.config.report_steps == 0:
            self._tell()
        if last or self._step % self.config.checkpoint_steps == 0:
            self._checkpoint()

    def _begin_counting(self) -> None:
        self._since, self._tokens, self._told = self.clock(), 0, self._step

    def _set_rate(self) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = rate(self.config.optimiser, self._step, self.config.steps)

    def _read(self) -> None:
        """The losses since the last time, from the device; sets the outcome when they say that the run is lost."""
        fresh = torch.stack(self._unread).tolist() if self._unread else []
        self._unread.clear()
        self._losses += fresh
        if fresh and (reason := trouble(self._losses)):
            failed = self._step
            self._restore()
            said = f"{reason}; the weights are those after step {self._step}, {failed - self._step} steps before"
            self._end("diverged", said)

    def _tell(self) -> None:
        self._read()
        if self.outcome is not None:
            return
        took = max(self.clock() - self._since, 1e-9)
        fresh = self._losses[self._told :]
        pace = self._tokens / took
        achieved = pace * self.work.flops_per_token(self.row_tokens)
        progress = Progress(
            step=self._step,
            steps=self.config.steps,
            loss=fmean(fresh),
            learning_rate=rate(self.config.optimiser, self._step - 1, self.config.steps),
            tokens_per_s=pace,
            mfu=None if self._peak is None else achieved / self._peak,
            seconds_left=(self.config.steps - self._step) * took / len(fresh),
        )
        with (self.folder / PROGRESS_FILE).open("a") as file:
            file.write(json.dumps(asdict(progress)) + "\n")
        self.report(progress)
        self._begin_counting()

    def _checkpoint(self) -> None:
        """Keeps the run as it is, unless its losses say that it is lost."""
        self._read()
        if self.outcome is None:
            state = State(self._step, self._losses, self.identity)
            checkpoints.write(self.folder, state, self.parameters, self._optimiser)

    def _restore(self) -> None:
        """To the last checkpoint; to the very beginning, which is written down as one, when there is none."""
        state = checkpoints.read(self.folder, self.identity, self.parameters, self._optimiser)
        if state is None:
            state = State(0, [], self.identity)
            checkpoints.write(self.folder, state, self.parameters, self._optimiser)
        self._step, self._losses = state.step, state.losses

    def _end(self, ended: Literal["finished", "stopped", "diverged"], reason: str = "") -> None:
        self.outcome = Outcome(ended, self._step, self._losses, reason)
        if self._losses:
            picture = plot.loss_curve(self._losses, f"{self.folder.name}: loss in nats")
            write_private(self.folder / plot.FILE, picture.encode())
