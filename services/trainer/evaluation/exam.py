"""What an encoder is measured on, with the vectors of what embeds now: a folder of the run, for its owner alone.

It quotes people, and goes when the run has ended. The service writes it, which knows no numbers but as bytes; the run's
process reads it (``exam_vectors.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from libs.shared.contracts.common import Vector
from libs.shared.durable import write_private
from services.trainer.evaluation.pairs import Pairs
from services.trainer.evaluation.questions import Questions

FILE = "exam.json"
VECTORS_SUFFIX = ".f32"


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


def keep(folder: Path, exam: Exam, vectors: Mapping[str, Sequence[Vector]] | None) -> None:
    """The vectors first: an exam that is there is whole."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, rows in (vectors or {}).items():
        write_private(folder / f"{name}{VECTORS_SUFFIX}", b"".join(rows))
    write_private(folder / FILE, exam.model_dump_json().encode())
