"""A plain text file as paragraphs, and those as sentences. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_END = re.compile(r"[.!?…][\"'»”’)]*\s+(?=\S)")
SENTENCE_WORDS = (4, 60)
"""Shorter ones are fragments, longer ones several that nothing ends."""


def paragraphs(text: str) -> list[str]:
    """The lines that aren't blank, each without the blanks around it."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(lines: Iterable[str]) -> list[str]:
    """The sentences of paragraphs, but for fragments and monsters; each once, in the order in which they stand."""
    low, high = SENTENCE_WORDS
    found = (sentence for line in lines for sentence in _parted(line))
    return list(dict.fromkeys(sentence for sentence in found if low <= len(sentence.split()) <= high))


def _parted(line: str) -> Iterator[str]:
    """Where one ends and the next doesn't go on in small letters, as after "e.g."."""
    begun = 0
    for end in _END.finditer(line):
        follows = line[end.end()]
        if not (follows.islower() or follows in "»”’)"):
            yield line[begun : end.end()].strip()
            begun = end.end()
    yield line[begun:].strip()
