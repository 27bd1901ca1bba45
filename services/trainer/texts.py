"""A plain text file as paragraphs, and those as sentences. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'»”’)]*\s+(?=[^\W_]|[\"'«“‘(])")
SENTENCE_WORDS = (4, 60)
"""Shorter ones are fragments, longer ones several that nothing ends."""


def paragraphs(text: str) -> list[str]:
    """The lines that aren't blank, each without the blanks around it."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(lines: Iterable[str]) -> list[str]:
    """The sentences of paragraphs, but for fragments and monsters; each once, in the order in which they stand."""
    low, high = SENTENCE_WORDS
    found = (sentence.strip() for line in lines for sentence in _SENTENCE_END.split(line))
    return list(dict.fromkeys(sentence for sentence in found if low <= len(sentence.split()) <= high))
