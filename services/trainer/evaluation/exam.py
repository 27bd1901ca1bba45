"""What an encoder is measured on, with the vectors of what embeds now: a folder of the run, for its owner alone.

It quotes people, and goes when the run has ended.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from libs.shared.durable import write_private
from services.trainer.evaluation.pairs import Pairs
from services.trainer.evaluation.questions import Questions
from services.trainer.evaluation.retrieval import Vectors

FILE = "exam.json"
VECTORS_FILE = "in_use.npz"


class Exam(BaseModel):
    """``in_use``: ``name@version`` of what embeds now; None: nothing does. ``lacking``: why there are no questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: Questions = Questions()
    pairs: Pairs = Pairs()
    in_use: str | None = None
    lacking: str = ""

    @property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """Everything that needs a vector, by what it is."""
        return {
            "queries": tuple(one.text for one in self.questions.questions),
            "passages": self.questions.passages,
            "first": self.pairs.first,
            "second": self.pairs.second,
        }


def keep(folder: Path, exam: Exam, vectors: dict[str, Vectors] | None) -> None:
    """The vectors first: an exam that is there is whole."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if vectors is not None:
        packed = io.BytesIO()
        np.savez(packed, **vectors)  # type: ignore[arg-type]  # its stub takes the names for options
        write_private(folder / VECTORS_FILE, packed.getvalue())
    write_private(folder / FILE, exam.model_dump_json().encode())


def read(folder: Path) -> tuple[Exam, dict[str, Vectors] | None]:
    """The exam, and the vectors of what embeds now. Raises OSError, ValueError."""
    exam = Exam.model_validate_json((folder / FILE).read_bytes())
    if exam.in_use is None:
        return exam, None
    with np.load(folder / VECTORS_FILE, allow_pickle=False) as file:
        return exam, {name: np.asarray(file[name], dtype=np.float32) for name in file.files}
