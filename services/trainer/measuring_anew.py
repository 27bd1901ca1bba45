"""An adapter or an encoder that was trained before, measured in a run's process on what it hasn't learnt from."""

from __future__ import annotations

from pathlib import Path

import torch

from libs.shared.evaluation.bootstrap import LEAST_UNITS
from libs.shared.evaluation.decision import Verdict
from services.trainer.adapter import measured, rows_of
from services.trainer.configuration import Sft
from services.trainer.curation import shelf
from services.trainer.encoder import Tell, load, other_blocks
from services.trainer.evaluation.figures import figures_of
from services.trainer.evaluation.measuring import write
from services.trainer.judging import judged
from services.trainer.lora import loaded
from services.trainer.spec import EvaluateSpec, RunSpec
from services.trainer.telling import Done


def measure_anew(spec: RunSpec, about: EvaluateSpec, folder: Path, tell: Tell) -> Done:
    """Its artefact is the name of what was measured, where it is better than what it is held against.

    Raises AdapterBroken, ModelBroken, DatasetBroken, InvalidRequest.
    """
    torch.set_num_threads(spec.threads)
    tell("loading")
    if about.encoder is not None:
        verdict, reason = judged(spec, folder, about.encoder, other_blocks(spec, spec.options.block_tokens), tell)
    else:
        verdict, reason = _adapter(spec, about, folder, tell)
    accepted = verdict is not None and verdict.accepted
    return Done(
        artefact=about.name if accepted else None,
        metrics=figures_of(verdict) if verdict is not None else {},
        detail=reason,
    )


def _adapter(spec: RunSpec, about: EvaluateSpec, folder: Path, tell: Tell) -> tuple[Verdict | None, str]:
    if about.dataset is None:
        return None, f"undecided: {about.lacking}; allow more"
    model, tokenizer = load(spec.model)
    examples = shelf.read(about.dataset).examples
    config = Sft(seed=spec.seed)
    held = rows_of(examples, tokenizer, config)
    conversations = [examples[at].conversation_id for at in held.of]
    if (units := len(set(conversations))) < LEAST_UNITS:
        return None, (
            f"undecided: it learnt nothing from {units} conversations that may be used, and {LEAST_UNITS} are needed to"
            " tell anything from chance; allow more"
        )
    assert about.adapter is not None
    adapted = loaded(model, about.adapter)
    tell("measuring")
    verdict = measured(adapted, tokenizer, held.rows, conversations, other_blocks(spec), seed=spec.seed)
    write(folder, verdict)
    return verdict, verdict.reason
