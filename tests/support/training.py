"""A tiny text, decoder and configuration to train on, here or in a process that can be killed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.trainer.chat import Row
from services.trainer.configuration import Mntp, Optimiser, Sft, SimCse, Training
from services.trainer.masking import Recipe, Vocabulary
from tests.support.decoders import VOCABULARY, decoder

if TYPE_CHECKING:
    from services.trainer.run import Outcome

MASKING = Vocabulary(size=VOCABULARY, mask_id=1, special_ids=(0, 1))
STEPS = 12
CONFIG = Mntp(
    steps=STEPS,
    batch=4,
    micro_batch=2,
    block_tokens=16,
    recipe=Recipe(),
    report_steps=2,
    checkpoint_steps=4,
    optimiser=Optimiser(learning_rate=1e-2),
)
CONTRAST = SimCse(
    steps=STEPS,
    batch=8,
    report_steps=2,
    checkpoint_steps=4,
    optimiser=Optimiser(learning_rate=1e-2),
    sentence_tokens=12,
)
ANSWERS = Sft(
    steps=STEPS,
    batch=4,
    micro_batch=2,
    report_steps=2,
    checkpoint_steps=4,
    optimiser=Optimiser(learning_rate=1e-2),
)


def blocks(rows: int = 24) -> Any:
    """Counting up from a random number in each row: what a model of two layers can learn."""
    starts = np.random.default_rng(0).integers(0, VOCABULARY - 2, rows)
    return 2 + (starts[:, None] + np.arange(CONFIG.block_tokens)) % (VOCABULARY - 2)


def sentences(count: int = 24) -> list[list[int]]:
    """Random words, of 4 to 14 tokens."""
    draw = np.random.default_rng(0)
    return [draw.integers(2, VOCABULARY, draw.integers(4, 15)).tolist() for _ in range(count)]


def changed(config: Training, **about: Any) -> Any:
    """``config`` but for ``about``, checked."""
    return type(config).model_validate(config.model_dump() | about)


def train(folder: Path, config: Mntp = CONFIG, *, name: str = "llama", **about: Any) -> tuple[Any, Outcome]:
    """Masked next-token prediction on a fresh decoder: what it became, and how the run ended."""
    from services.trainer import mntp

    return mntp.train(config, decoder(name), blocks(), MASKING, folder, **about)


def contrast(folder: Path, config: SimCse = CONTRAST, **about: Any) -> tuple[Any, Outcome]:
    """SimCSE on a fresh decoder."""
    from services.trainer import simcse

    return simcse.train(config, decoder("llama"), sentences(), 0, folder, **about)


def rows(count: int = 24) -> list[Row]:
    """Exchanges of unequal length: three to six random tokens, then as many, each one higher."""
    draw = np.random.default_rng(0)
    asked = [draw.integers(2, VOCABULARY - 1, draw.integers(3, 7)).tolist() for _ in range(count)]
    return [Row((*given, *(token + 1 for token in given)), len(given)) for given in asked]


def answers(folder: Path, config: Sft = ANSWERS, *, name: str = "llama", **about: Any) -> tuple[Any, Outcome]:
    """Supervised fine-tuning of a fresh decoder."""
    from services.trainer import sft

    return sft.train(config, decoder(name), rows(), folder, **about)


def weights(adapted: Any) -> dict[str, Any]:
    """Name → copy of each weight that was trained."""
    from services.trainer.lora import trainable

    return {name: parameter.detach().clone() for name, parameter in trainable(adapted).items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Bit by bit."""
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def main() -> None:
    """For each loop and folder on standard input, a child process that trains there; one line a report, with the
    child's pid."""
    loops: dict[str, Any] = {"mntp": train, "sft": answers}
    decoder("llama")  # the libraries are read once, before any child
    for line in sys.stdin:
        child = os.fork()
        if child == 0:

            def tell(progress: Any) -> None:
                print(json.dumps({"pid": os.getpid(), "step": progress.step}), flush=True)
                # The run goes on when it is told to, so that it is killed in the middle and not after its end.
                os.read(int(sys.argv[1]), 1)

            loop, _, folder = line.strip().partition(" ")
            loops[loop](Path(folder), report=tell)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
