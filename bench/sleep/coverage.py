"""What of an answer stands in a context, and whether the context is whole sentences of what was said."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from bench.locomo.data import Turn
from libs.shared.contracts.memory import MemoryItem
from libs.shared.dates import written_day
from libs.shared.text import sentences, terms

RESAMPLES = 2000
_INSERTED = re.compile(r" \([^()]*\b(?:19|20)\d\d\)")
"""A date that a digest writes out behind the words that name it."""


def covered(answer: str, context: str) -> float:
    """The share of the answer's different content words, stemmed as the index stems them, that stand in the context."""
    wanted = set(terms(answer))
    return len(wanted & set(terms(context))) / len(wanted) if wanted else 1.0


def shown(items: Iterable[MemoryItem]) -> str:
    """As a reader of ``GET /api/v1/memories`` has it: each text with who said it when; a digest says that itself."""
    return "\n".join(
        item.text if item.digest else f"{item.at.date().isoformat()}, {item.speaker}: {item.text}" for item in items
    )


def dated(items: Iterable[MemoryItem]) -> str:
    """The same with days in words, as answers have them: more than the product showed."""
    return "\n".join(f"{written_day(item.at, 'en')}, {item.speaker}: {item.text}" for item in items)


class NotWhole(Exception):
    """A context that holds something else than whole sentences of its sources."""


def check(items: Sequence[MemoryItem], turns: Mapping[str, Turn]) -> None:
    """Raises NotWhole unless each item is what one turn said, or a day in words and then whole sentences of its
    sources, in their order, each source's under its speaker's name; dates in brackets may be written behind words."""
    for item in items:
        if item.digest:
            _check_digest(item, turns)
        elif item.text != turns[item.id].text:
            raise NotWhole(item.text)


def _check_digest(item: MemoryItem, turns: Mapping[str, Turn]) -> None:
    if not item.sources or any(source not in turns for source in item.sources):
        raise NotWhole(f"without sources: {item.text}")
    first = turns[item.sources[0]]
    left = item.text.removeprefix(f"{written_day(first.at, 'en')}.")
    if left == item.text:
        raise NotWhole(f"without its day: {item.text}")
    before = ""
    for source in item.sources:
        turn = turns[source]
        name = "" if turn.speaker == before else f"{turn.speaker}: "
        if not left.startswith(" " + name):
            raise NotWhole(f"without its speaker: {left}")
        left = _without_sentences(" " + left[1 + len(name) :], turn)
        before = turn.speaker
    if left.strip():
        raise NotWhole(f"of no source: {left}")


def _without_sentences(text: str, turn: Turn) -> str:
    """What follows the turn's sentences at the beginning of a text. Raises NotWhole where there is none."""
    whole = [" ".join(turn.text.split()), *sentences(turn.text)]
    taken = 0
    while (cut := next((end for one in whole if (end := _after(text, one))), 0)) > 0:
        text, taken = text[cut:], taken + 1
    if not taken:
        raise NotWhole(f"no whole sentence: {text}")
    return text


def _after(text: str, sentence: str) -> int:
    """Where a text goes on that begins with the sentence, dates written out within it or not; 0: it doesn't."""
    words = sentence.split()
    pattern = r"(?:\s\([^()]*\d{4}\))?\s+".join(_word(word) for word in words) + r"(?:\s\([^()]*\d{4}\)[.!?…,]?)?"
    found = re.match(rf"\s{pattern}(?=\s|$)", text)
    return found.end() if found else 0


def _word(word: str) -> str:
    """A word, behind whose letters a date may be written before its punctuation."""
    bare = word.rstrip(".,!?;:…-–'\"”)")
    return re.escape(bare) + r"(?:\s\([^()]*\d{4}\))?" + re.escape(word[len(bare) :]) if bare else re.escape(word)


def interval(differences: Sequence[float], seed: int = 7) -> tuple[float, float]:
    """Of the mean of paired differences, the middle 95 % of resamples over questions (percentile bootstrap)."""
    chance = random.Random(seed)
    means = sorted(fmean(chance.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]
