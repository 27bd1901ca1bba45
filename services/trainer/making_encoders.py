"""From the files of a run to an encoder that is better than what there is, or to the reason why it isn't put to use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.trainer.encoder import Tell, held_out_blocks, train_encoder
from services.trainer.evaluation.figures import figures_of
from services.trainer.judging import judged
from services.trainer.spec import RunSpec
from services.trainer.telling import Done


def make_encoder(spec: RunSpec, folder: Path, target: Path, tell: Tell, stop: Callable[[], bool]) -> Done | None:
    """What came of it lies in ``target``; it is the run's artefact unless its evaluation refuses it. None when it
    was stopped before its end. Raises what ``train_encoder`` and ``judged`` raise.
    """
    metrics = train_encoder(spec, folder, target, tell, stop)
    if metrics is None:
        return None
    verdict, reason = judged(spec, folder, target, held_out_blocks(spec), tell)
    return Done(
        artefact=target.name if verdict is None or verdict.accepted else None,
        metrics=metrics | (figures_of(verdict) if verdict is not None else {}),
        detail=reason,
    )
