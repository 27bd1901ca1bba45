"""WikiText-2 and the STS benchmark as files, read into plain texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_JOINED = re.compile(r" @(.)@ ")
_BEFORE = re.compile(r" (n't|'s|'re|'ve|'d|'ll|'m|[.,;:!?%)\]])")
_AFTER = re.compile(r"([(\[$]) ")
_SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z\"])")
SENTENCE_WORDS = (4, 60)
HELD_OUT = 20
"""One paragraph of so many is kept from training."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of sentences, and how alike people find each: 0 to 5."""

    first: list[str]
    second: list[str]
    scores: list[float]


def plain(line: str) -> str:
    """A tokenised line of WikiText as people write it; words that the corpus left out are left out."""
    text = _JOINED.sub(r"\1", line.strip()).replace("<unk> ", "")
    return _AFTER.sub(r"\1", _BEFORE.sub(r"\1", text))


def documents(paths: Sequence[Path]) -> list[str]:
    """Paragraphs of WikiText files; its headings are left out."""
    lines = (plain(line) for path in paths for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("=")]


def apart(paragraphs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those to train on, and those to measure a language model's loss on."""
    kept = [text for at, text in enumerate(paragraphs) if at % HELD_OUT]
    return kept, list(paragraphs[::HELD_OUT])


def sentences(paragraphs: Sequence[str]) -> list[str]:
    """Their sentences, but for fragments and monsters."""
    low, high = SENTENCE_WORDS
    found = (sentence for paragraph in paragraphs for sentence in _SENTENCE_END.split(paragraph))
    return [sentence for sentence in found if low <= len(sentence.split()) <= high]


def pairs(path: Path) -> Pairs:
    """A split of the STS benchmark: tab-separated, the score in the fifth column, the sentences after it."""
    rows = [line.split("\t") for line in path.read_text().splitlines() if line]
    return Pairs([row[5] for row in rows], [row[6] for row in rows], [float(row[4]) for row in rows])
