"""Cutting a document into passages that an embedder reads whole: at headings, paragraphs, sentences. Pure.

A passage is of one page and one section. What doesn't begin with its heading is told the headings that it stands under.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from libs.shared.contracts.keeping import Passage
from libs.shared.text import ENGLISH, FRENCH, words
from services.cognition.documents.blocks import Block

BODY_TOKENS = 180
HEADING_TOKENS = 40
"""Of the headings above; 220 in all stay below the 256 that a small embedder reads."""
PATH = " › "

_CUTS = tuple(map(re.compile, (r"\n[^\S\n]*\n\s*", r"\n\s*", r"(?<=[.!?…。！？])(?:[\"'»”)\]]*)\s+", r"\s+")))
"""Where a text may be cut, the best places first: paragraphs, lines, sentences, words."""
_TOKEN = re.compile(r"([^\W\d_]+)|(\d+)|(\S)")
_ENGLISH_SHARE = 0.25
"""English prose has a third of small words and more; below it, or with another language beside it, is less."""
_SAMPLE_CHARACTERS = 20_000
_WIDE = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts that embedders read letter by letter."""
_DIGITS_PER_TOKEN = 2
_FOREIGN_LETTERS_PER_TOKEN = 2
_LAST_LATIN = "\u024f"


class Measure:
    """How many tokens a text of this document has: an estimate that rather errs high, since a passage that is too long
    would not be read to its end. Small embedders know English words whole and spell the others."""

    def __init__(self, english: bool) -> None:
        self._letters_per_token = 7 if english else 4

    def __call__(self, text: str) -> int:
        return sum(map(self._of_word, _TOKEN.finditer(text)))

    def _of_word(self, found: re.Match[str]) -> int:
        word, digits, _ = found.groups()
        if digits:
            return 1 + (len(digits) - 1) // _DIGITS_PER_TOKEN
        if word is None:
            return 1
        if _WIDE.search(word):
            return len(word)
        each = _FOREIGN_LETTERS_PER_TOKEN if max(word) > _LAST_LATIN else self._letters_per_token
        return 1 + (len(word) - 1) // each


def measure_of(blocks: Sequence[Block]) -> Measure:
    """By the beginning of the document."""
    sample: list[str] = []
    for block in blocks:
        sample.append(block.text)
        if sum(map(len, sample)) > _SAMPLE_CHARACTERS:
            break
    found = words(" ".join(sample)[:_SAMPLE_CHARACTERS])
    english = sum(word in ENGLISH and word not in FRENCH for word in found)
    return Measure(english=bool(found) and english >= _ENGLISH_SHARE * len(found))


def cut(blocks: Sequence[Block]) -> tuple[Passage, ...]:
    """Every word of the blocks, in order, headings included."""
    measure = measure_of(blocks)
    return tuple(draft.passage(measure) for draft in _drafts(blocks, measure))


@dataclass
class Draft:
    """A passage as it grows."""

    above: tuple[str, ...]
    """The headings that it stands under, the outermost first, but for those in its own text."""
    page: int | None
    text: str = ""
    tokens: int = 0
    has_body: bool = False
    """Whether anything but headings is in it."""

    def passage(self, measure: Measure) -> Passage:
        told = _bounded(self.above, measure)
        body = self.text.strip()
        return Passage(text=f"{told}\n\n{body}" if told else body, page=self.page)


def _drafts(blocks: Iterable[Block], measure: Measure) -> Iterator[Draft]:
    path: list[tuple[int, str]] = []
    draft: Draft | None = None
    for block in blocks:
        if block.level:
            path = [(level, text) for level, text in path if level < block.level]
        above = tuple(text for _, text in path)
        for number, piece in enumerate(_pieces(block.text, measure)):
            size = measure(piece)
            if draft is not None and _ends(draft, block, size, begins=number == 0):
                yield draft
                draft = None
            if draft is None:
                draft = Draft(above, block.page)
            if draft.text and number == 0:
                draft.text = f"{draft.text.rstrip()}\n\n"
            draft.text += piece
            draft.tokens += size
            draft.has_body |= not block.level
        if block.level:
            path.append((block.level, " ".join(block.text.split())))
    if draft is not None:
        yield draft


def _ends(draft: Draft, block: Block, size: int, *, begins: bool) -> bool:
    """Whether what comes belongs to another passage. A heading alone waits for what stands under it."""
    if draft.page != block.page or draft.tokens + size > BODY_TOKENS:
        return True
    return bool(block.level and begins and draft.has_body)


def _pieces(text: str, measure: Measure, place: int = 0) -> Iterator[str]:
    """Parts of ``text`` that fit, together exactly ``text``; one that can't be cut anywhere is cut by length."""
    if measure(text) <= BODY_TOKENS:
        if text.strip():
            yield text
        return
    if place == len(_CUTS):
        yield from (text[start : start + BODY_TOKENS] for start in range(0, len(text), BODY_TOKENS))
        return
    begin = 0
    for found in _CUTS[place].finditer(text):
        yield from _pieces(text[begin : found.end()], measure, place + 1)
        begin = found.end()
    yield from _pieces(text[begin:], measure, place + 1)


def _bounded(headings: Sequence[str], measure: Measure) -> str:
    """The innermost headings as far as they fit."""
    left = HEADING_TOKENS
    chosen: list[str] = []
    for heading in reversed(headings):
        left -= measure(heading) + 1
        if left < 0:
            break
        chosen.append(heading)
    return PATH.join(reversed(chosen))
