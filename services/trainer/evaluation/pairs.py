"""Pairs of sentences that people rated by how alike they mean, out of a file. Pure."""

from __future__ import annotations

import csv
import io

from pydantic import BaseModel, ConfigDict

from libs.shared.errors import InvalidRequest

LEAST_PAIRS = 20
_STS_B = (4, 5, 6)
"""Score and both sentences in the STS benchmark's own files, whose rows have seven columns and more."""


class Pairs(BaseModel):
    """Of equal length; a higher score means more alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


def pairs_of(text: str) -> Pairs:
    """From rows of score, sentence and sentence with tabs between them, or as the STS benchmark has them.

    Raises InvalidRequest, which names the row and quotes nothing.
    """
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    found = [_pair(row, number) for number, row in enumerate(rows, 1) if row]
    if len(found) < LEAST_PAIRS:
        raise InvalidRequest(f"{len(found)} pairs of sentences are too few: {LEAST_PAIRS} are needed")
    scores, first, second = zip(*found, strict=True)
    if len(set(scores)) == 1:
        raise InvalidRequest("all pairs have the same score: nothing can be told from that")
    return Pairs(first=first, second=second, scores=scores)


def _pair(row: list[str], number: int) -> tuple[float, str, str]:
    columns = _STS_B if len(row) > _STS_B[-1] else (0, 1, 2)
    try:
        score, first, second = (row[at].strip() for at in columns)
        if not first or not second:
            raise ValueError
        return float(score), first, second
    except (IndexError, ValueError):
        raise InvalidRequest(f"row {number} isn't a score, a sentence and a sentence with tabs between them") from None
