"""Rated pairs of which it is known how well a model does: the ratings are what the model itself says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from services.trainer.evaluation.pairs import Pairs
from tests.support import language_model
from tests.support.language_model import SENTENCES

TOLD = [f"{line}, {times} times" for times in range(8) for line in SENTENCES]
SOURCE = language_model.cached() / language_model.FOLDER


def pairs_as_seen(*, causal: bool) -> Pairs:
    """Scores that are just what the tiny model says with attention in that direction."""
    from services.trainer.evaluation.exam import Exam
    from services.trainer.evaluation.retrieval import cosines
    from services.trainer.judging import _measured
    from services.trainer.spec import RunSpec

    blank = Pairs(first=tuple(TOLD), second=tuple(TOLD[7:] + TOLD[:7]), scores=(0.0,) * len(TOLD))
    spec = RunSpec(model=SOURCE, seed=0, threads=1)
    vectors: Any = _measured(spec, SOURCE, Exam(pairs=blank), None, causal=causal)[0]
    scores = cosines(vectors["first"], vectors["second"])
    return blank.model_copy(update={"scores": tuple(np.round(scores, 6).tolist())})


def write_pairs_that_it_gets_wrong(path: Path) -> None:
    """Whatever else is made of the model agrees with these more than itself does."""
    pairs = pairs_as_seen(causal=True)
    rows = zip(pairs.scores, pairs.first, pairs.second, strict=True)
    path.write_text("".join(f"{-score:.6f}\t{first}\t{second}\n" for score, first, second in rows))
