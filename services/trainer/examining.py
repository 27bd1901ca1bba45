"""What an encoder will be measured on: people's own questions, as far as they allow it, pairs that were rated, and the
vectors of what embeds now, asked for while nobody else needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Vector
from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.scheduling import PLACE_JOB, PlaceJob, Placement
from libs.shared.errors import (
    InvalidRequest,
    ModelNotFound,
    NoModel,
    Overloaded,
    Preempted,
    TextNotFound,
    TimedOut,
)
from services.trainer.curation.exchanges import Example
from services.trainer.evaluation import exam as exams
from services.trainer.evaluation.exam import Exam
from services.trainer.evaluation.pairs import Pairs, pairs_of
from services.trainer.evaluation.questions import Questions, questions_of

AT_ONCE = 32
"""Texts of a request: few, since somebody who asks anything makes it begin again."""
LONGEST_CHARACTERS = 8000
RETRY_S = 0.5
MOST_VERSIONS = 3
"""So often the embedder may change while it is asked."""
QUERIES = "queries"


async def prepared(bus: Bus, folder: Path, examples: Sequence[Example], lacking: str, sts: Path | None) -> Path:
    """The exam's folder, as an earlier life of the run left it where it did. ``lacking``: why there are no examples.

    Raises TextNotFound, InvalidRequest (the pairs can't be read), ServiceError.
    """
    if (folder / exams.FILE).is_file():
        return folder
    questions = await asyncio.to_thread(asked, examples)
    pairs = await asyncio.to_thread(_pairs, sts) if sts is not None else Pairs()
    exam = Exam(questions=questions, pairs=pairs, lacking=lacking)
    in_use, vectors = None, None
    if any(exam.texts.values()):
        in_use, vectors = await in_use_vectors(bus, exam)
    await asyncio.to_thread(exams.keep, folder, exam.model_copy(update={"in_use": in_use}), vectors)
    return folder


def asked(examples: Iterable[Example]) -> Questions:
    """What was asked and answered, for the exam. Pure."""
    return questions_of((one.conversation_id, one.question, one.answer) for one in examples)


def _pairs(path: Path) -> Pairs:
    try:
        return pairs_of(path.read_text())
    except FileNotFoundError:
        raise TextNotFound(f"{path.name} is gone") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path.name} is no text in UTF-8") from None


async def in_use_vectors(bus: Bus, exam: Exam) -> tuple[str | None, dict[str, list[Vector]] | None]:
    """(``name@version``, vectors by what they are of) of the installation's embedder; nothing where none is served.

    Raises ServiceError.
    """
    for _ in range(MOST_VERSIONS):
        names: set[str] = set()
        found: dict[str, list[Vector]] = {}
        for what, texts in exam.texts.items():
            purpose: Literal["query", "passage"] = "query" if what == QUERIES else "passage"
            found[what] = []
            for start in range(0, len(texts), AT_ONCE):
                told = await _embedded(bus, texts[start : start + AT_ONCE], purpose)
                if told is None:
                    return None, None
                names.add(told.embedder)
                found[what] += told.vectors
        if len(names) == 1:
            return names.pop(), found
    raise InvalidRequest("the embedder changed again and again while it was measured: try again later")


async def _embedded(bus: Bus, texts: Sequence[str], purpose: Literal["query", "passage"]) -> Embeddings | None:
    """None where nothing embeds here. Waits while somebody else is served."""
    cut = tuple(text[:LONGEST_CHARACTERS] for text in texts)
    while True:
        try:
            placed = await _placed(bus)
            request = EmbedRequest(model=placed.model.name, texts=cut, background=True, purpose=purpose)
            return await bus.request(EMBED, request, replica=placed.replica)
        except (NoModel, ModelNotFound):
            return None
        except (Preempted, Overloaded, TimedOut):
            await asyncio.sleep(RETRY_S)


async def _placed(bus: Bus) -> Placement:
    """Where there is room. Raises NoModel, and what PLACE_JOB raises."""
    begun = asyncio.get_running_loop().time()
    while True:
        waited = asyncio.get_running_loop().time() - begun
        told = await bus.request(PLACE_JOB, PlaceJob(kind="embed", waited_s=waited))
        if told.placement is not None:
            return told.placement
        await asyncio.sleep(max(RETRY_S, told.retry_after_s))
