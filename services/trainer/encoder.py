"""A text encoder out of a decoder and a plain text, from files to a file: both trainings, one after the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

from libs.shared.durable import sync_folder
from libs.shared.errors import InvalidRequest, ModelBroken, TextNotFound, TrainingDiverged
from services.trainer import mntp, simcse
from services.trainer.bidirectional import family
from services.trainer.configuration import Mntp, Optimiser, SimCse
from services.trainer.curation import shelf
from services.trainer.curation.splitting import place
from services.trainer.lora import merged
from services.trainer.masking import Tokens, vocabulary_of
from services.trainer.packing import packed, tokenized
from services.trainer.progress import Progress
from services.trainer.run import Outcome
from services.trainer.spec import RunSpec
from services.trainer.texts import paragraphs, sentences
from services.trainer.tokens_alike import refuse_other_tokens

HELD_OUT_SHARE, LEAST_LINES, MOST_BLOCKS = 0.02, 200, 64
"""Of the paragraphs of a text that has so many, for measuring; and how many blocks of them are measured."""


class Tell(Protocol):
    """Hears of each phase as it begins, and of where it stands."""

    def __call__(self, phase: str, progress: Progress | None = None) -> None: ...


def train_encoder(
    spec: RunSpec, folder: Path, target: Path, tell: Tell, stop: Callable[[], bool]
) -> dict[str, float] | None:
    """What came of it lies in ``target`` as a Hugging Face folder; None when it was stopped before its end.

    Begun in ``folder``, or taken up there; what was finished isn't trained again. Raises ModelBroken, TextNotFound,
    InvalidRequest (too little text), TrainingDiverged, and what the loops raise.
    """
    torch.set_num_threads(spec.threads)
    tell("loading")
    model, tokenizer = load(spec.model)
    lines, _ = lines_of(spec)
    refuse_other_tokens(tokenizer, lines)
    metrics: dict[str, float] = {}

    tell("mntp")
    blocks = packed(tokenized(lines, tokenizer), spec.options.block_tokens)
    adapted, outcome = mntp.train(
        _mntp(spec),
        model,
        blocks,
        vocabulary_of(tokenizer),
        folder / "mntp",
        report=partial(tell, "mntp"),
        stop=stop,
    )
    if not finished(outcome):
        return None
    metrics |= figures("mntp", outcome)
    model = merged(adapted)
    if spec.options.contrast_steps:
        tell("simcse")
        rows = list(tokenized(sentences(lines), tokenizer))
        if len(rows) < spec.options.contrast_batch:
            raise InvalidRequest(
                f"{len(rows)} sentences are fewer than the {spec.options.contrast_batch} to tell apart"
            )
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        adapted, outcome = simcse.train(
            _simcse(spec), model, rows, padding, folder / "simcse", report=partial(tell, "simcse"), stop=stop
        )
        if not finished(outcome):
            return None
        metrics |= figures("simcse", outcome)
        model = merged(adapted)

    tell("saving")
    save(model, tokenizer, target)
    return metrics


def lines_of(spec: RunSpec) -> tuple[list[str], list[str]]:
    """The paragraphs that are learnt from, and those of the text that are held out: the same always, by a hash.

    Raises TextNotFound, InvalidRequest, DatasetBroken.
    """
    lines = paragraphs(_text(spec.text)) if spec.text is not None else []
    apart: set[str] = set()
    if len(lines) >= LEAST_LINES:
        apart = {line for line in set(lines) if place(line, "text") < HELD_OUT_SHARE}
    learnt = [line for line in lines if line not in apart]
    if spec.own is not None:
        for example in shelf.read(spec.own).of("train"):
            learnt += [*paragraphs(example.question), *paragraphs(example.answer)]
    return learnt, [line for line in dict.fromkeys(lines) if line in apart]


def held_out_blocks(spec: RunSpec) -> Tokens | None:
    """Of the text that an encoder learns from; None where it has too little to hold some out.

    Raises as ``lines_of`` does, ModelBroken.
    """
    return blocks_of(lines_of(spec)[1], load_tokenizer(spec.model), spec.options.block_tokens)


def other_blocks(spec: RunSpec, block_tokens: int = 256) -> Tokens | None:
    """Of a text that nothing learns from; None where there is none, or too little. Raises as ``held_out_blocks``."""
    lines = paragraphs(_text(spec.text)) if spec.text is not None else []
    return blocks_of(lines, load_tokenizer(spec.model), block_tokens)


def blocks_of(lines: list[str], tokenizer: Any, block_tokens: int) -> Tokens | None:
    """``MOST_BLOCKS`` at the most; None where they fill none."""
    try:
        return packed(tokenized(lines, tokenizer), block_tokens)[:MOST_BLOCKS]
    except InvalidRequest:
        return None


def load_tokenizer(folder: Path) -> Any:
    """Raises ModelBroken."""
    transformers: Any = import_module("transformers")
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelBroken(f"the tokenizer of {folder.name} can't be loaded ({type(error).__name__})") from error


def load(folder: Path) -> tuple[Any, Any]:
    """(model, tokenizer): on a GPU in bfloat16, else in float32. Raises ModelBroken, Unsupported."""
    transformers: Any = import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    on_gpu = torch.cuda.is_available()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            attn_implementation="sdpa",
            dtype=torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported() else torch.float32,
            local_files_only=True,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelBroken(
            f"{folder.name} can't be loaded as a Hugging Face decoder ({type(error).__name__})"
        ) from error
    family(model)
    return model.to("cuda" if on_gpu else "cpu"), tokenizer


def save(model: Any, tokenizer: Any, target: Path) -> None:
    """Writes the folder aside, and puts it into its place whole."""
    if target.exists():
        return
    aside = target.with_name(f"{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    tokenizer.save_pretrained(aside)
    for path in aside.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    aside.rename(target)
    sync_folder(target.parent)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        raise TextNotFound(f"{path.name} is gone") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path.name} is no text in UTF-8") from None


def finished(outcome: Outcome) -> bool:
    """Whether it came to its end, and wasn't stopped before. Raises TrainingDiverged."""
    if outcome.ended == "diverged":
        raise TrainingDiverged(outcome.reason)
    return outcome.ended == "finished"


def figures(name: str, outcome: Outcome) -> dict[str, float]:
    """How the training began and ended: means over a twentieth of its losses."""
    share = max(1, len(outcome.losses) // 20)
    first, last = outcome.losses[:share], outcome.losses[-share:]
    return {f"{name}_loss_first": sum(first) / share, f"{name}_loss_last": sum(last) / share}


def _mntp(spec: RunSpec) -> Mntp:
    asked = spec.options
    return Mntp(
        seed=spec.seed,
        steps=asked.steps,
        batch=asked.batch,
        block_tokens=asked.block_tokens,
        optimiser=Optimiser(learning_rate=asked.learning_rate),
        checkpoint_steps=asked.checkpoint_steps,
    )


def _simcse(spec: RunSpec) -> SimCse:
    asked = spec.options
    return SimCse(
        seed=spec.seed,
        steps=asked.contrast_steps,
        batch=asked.contrast_batch,
        sentence_tokens=asked.sentence_tokens,
        optimiser=Optimiser(learning_rate=asked.contrast_learning_rate),
        checkpoint_steps=asked.checkpoint_steps,
    )
