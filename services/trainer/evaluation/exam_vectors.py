"""An exam as a run's process reads it, with the vectors of what embeds now as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.trainer.evaluation.exam import FILE, VECTORS_SUFFIX, Exam
from services.trainer.evaluation.retrieval import Vectors


def read(folder: Path) -> tuple[Exam, dict[str, Vectors] | None]:
    """The exam, and the vectors of what embeds now, where something does. Raises OSError, ValueError."""
    exam = Exam.model_validate_json((folder / FILE).read_bytes())
    if exam.in_use is None:
        return exam, None
    found = {}
    for name, texts in exam.texts.items():
        flat = np.frombuffer((folder / f"{name}{VECTORS_SUFFIX}").read_bytes(), dtype="<f4")
        found[name] = flat.reshape(len(texts), -1) if texts else np.zeros((0, 1), dtype=np.float32)
    return exam, found
