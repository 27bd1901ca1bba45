"""Whether two sentences that are nearly the same differ in what matters: a number, a name, a "not". Pure."""

from __future__ import annotations

import re
from collections import Counter

from libs.shared.text import APOSTROPHES, fold

_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NUMBER_WORD = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|hundred|thousand|twice|half|"
    r"deux|trois|quatre|cinq|sept|huit|neuf|dix|onze|douze|vingt|trente|cent|mille)\b"
)
_NEGATION = re.compile(
    r"n't\b|\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|stopped|quit|anymore|"
    r"ne|n|pas|jamais|rien|aucun|aucune|sans|plus)\b"
)
_NAME = re.compile(r"(?<=[\w,;:)] )[^\W\d_a-z][\w'-]+")
"""A word with a capital that begins no sentence; what follows the end of one has none before it."""


def tells_apart(one: str, other: str) -> bool:
    """Whether one has a number, a name or a negation that the other has not."""
    return _marks(one) != _marks(other)


def _marks(text: str) -> tuple[Counter[str], Counter[str], frozenset[str]]:
    folded = fold(text.translate(APOSTROPHES))
    numbers = Counter(_NUMBER.findall(folded) + _NUMBER_WORD.findall(folded))
    names = frozenset(word.casefold() for word in _NAME.findall(text) if word[0].isupper())
    return numbers, Counter(_NEGATION.findall(folded)), names
