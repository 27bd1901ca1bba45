"""An encoder that was trained, held against its model untrained and against what embeds now: in the run's process."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from libs.shared.errors import InvalidRequest, ModelBroken
from libs.shared.evaluation.bootstrap import Comparison, Totals, compare_means
from libs.shared.evaluation.decision import Verdict
from services.trainer.bidirectional import make_bidirectional
from services.trainer.encoder import Tell, load, load_tokenizer
from services.trainer.evaluation import exam_vectors
from services.trainer.evaluation.encoders import judge, telling_conversations
from services.trainer.evaluation.exam import Exam
from services.trainer.evaluation.measuring import write
from services.trainer.evaluation.retrieval import Vectors
from services.trainer.masking import Tokens, mask, recipe_of, vocabulary_of
from services.trainer.mntp import hidden_loss
from services.trainer.pooling import embed
from services.trainer.spec import RunSpec

UNTRAINED = "the model untrained"
LONGEST = 512
"""Tokens of a text that are read."""
MASKED = "nats of a hidden token of held-out text"


def judged(spec: RunSpec, folder: Path, encoder: Path, blocks: Tokens | None, tell: Tell) -> tuple[Verdict | None, str]:
    """The verdict on the encoder in ``encoder``, written down in ``folder``, and the reason in words; no verdict where
    there is nothing to tell by. ``blocks`` (blocks x tokens) are of text that it hasn't seen.

    Raises ModelBroken, Unsupported, InvalidRequest.
    """
    tell("measuring")
    exam, in_use = _read(spec.exam)
    untrained, nats_before = _measured(spec, spec.model, exam, blocks, causal=True)
    trained, nats_after = _measured(spec, encoder, exam, blocks, causal=False)
    before: dict[str, Mapping[str, Vectors]] = {UNTRAINED: untrained}
    if exam.in_use is not None and in_use is not None:
        before[exam.in_use] = in_use
    verdict = judge(exam, before, trained, _nats(nats_before, nats_after))
    if verdict is None:
        return None, undecided(exam)
    write(folder, verdict)
    return verdict, verdict.reason


def undecided(exam: Exam) -> str:
    """Why nothing can be told. Pure."""
    asked = exam.lacking or (
        f"questions that words alone don't answer are of {telling_conversations(exam.questions)} conversations that may"
        " be used, and five are needed"
    )
    return f"undecided: {asked}; allow more, or measure it on rated pairs with mongars train evaluate --sts FILE"


def _read(folder: Path | None) -> tuple[Exam, dict[str, Vectors] | None]:
    if folder is None:
        return Exam(lacking="there is nothing to measure it on"), None
    try:
        return exam_vectors.read(folder)
    except (OSError, ValueError):
        raise InvalidRequest("what the encoder is measured on can't be read") from None


def _measured(
    spec: RunSpec, model_folder: Path, exam: Exam, blocks: Tokens | None, *, causal: bool
) -> tuple[dict[str, Vectors], list[float]]:
    """Vectors of the exam's texts, and what hidden tokens cost with attention in both directions, block by block."""
    # An encoder that is kept has its tokens alone, and not what its model's tokenizer says of them.
    model, tokenizer = load(model_folder)[0], load_tokenizer(spec.model)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if padding is None:
        raise ModelBroken(f"the tokenizer of {spec.model.name} has no token to pad with")
    if not causal:
        make_bidirectional(model)
    vectors = {name: _vectors(model, tokenizer, texts, int(padding)) for name, texts in exam.texts.items()}
    make_bidirectional(model)
    nats = [] if blocks is None else _masked_nats(model, tokenizer, blocks, spec.seed)
    del model
    gc.collect()
    return vectors, nats


def _vectors(model: Any, tokenizer: Any, texts: Sequence[str], padding: int) -> Vectors:
    if not texts:
        return np.zeros((0, 1), dtype=np.float32)
    rows = [ids[:LONGEST] or [padding] for ids in tokenizer(list(texts))["input_ids"]]
    return np.asarray(embed(model, rows, padding=padding, batch=16).numpy(), dtype=np.float32)


def _masked_nats(model: Any, tokenizer: Any, blocks: Tokens, seed: int) -> list[float]:
    import torch

    recipe, vocabulary = recipe_of(str(model.config.model_type)), vocabulary_of(tokenizer)
    found = []
    with torch.inference_mode():
        for at in range(len(blocks)):
            hidden = mask(blocks[at : at + 1], recipe=recipe, vocabulary=vocabulary, seed=seed, step=at)
            if len(hidden.targets):
                found.append(float(hidden_loss(model, hidden)) / len(hidden.targets))
    return found


def _nats(before: Sequence[float], after: Sequence[float]) -> list[Comparison]:
    if not before:
        return []
    ones = np.ones(len(before))
    theirs, own = (Totals(np.asarray(one, dtype=np.float64), ones) for one in (before, after))
    return [compare_means(MASKED, theirs, own, better="lower", unit="blocks of text")]
