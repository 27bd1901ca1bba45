"""Cutting a document into passages that an embedder reads whole: at headings, paragraphs, sentences. Pure.

A passage is of one page and one section. What doesn't begin with its heading is told the headings that it stands under.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from libs.shared.contracts.keeping import Passage
from services.cognition.documents.blocks import Block

BODY_TOKENS = 180
HEADING_TOKENS = 40
"""Of the headings above; 220 in all stay below the 256 that a small embedder reads."""
PATH = " › "

_CUTS = tuple(map(re.compile, (r"\n[^\S\n]*\n\s*", r"\n\s*", r"(?<=[.!?…。！？])(?:[\"'»”)\]]*)\s+", r"\s+")))
"""Where a text may be cut, the best places first: paragraphs, lines, sentences, words."""
_TOKEN = re.compile(r"([^\W\d_]+)|(\d+)|(\S)")
_LETTERS_PER_TOKEN = 4
_WIDE = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts that embedders read letter by letter."""
_DIGITS_PER_TOKEN = 2


def tokens(text: str) -> int:
    """An estimate that rather errs high: a passage that is too long would not be read to its end."""
    return sum(map(_word_tokens, _TOKEN.finditer(text)))


def _word_tokens(found: re.Match[str]) -> int:
    word, digits, _ = found.groups()
    if digits:
        return 1 + (len(digits) - 1) // _DIGITS_PER_TOKEN
    if word is None:
        return 1
    if _WIDE.search(word):
        return len(word)
    return 1 + (len(word) - 1) // _LETTERS_PER_TOKEN


def cut(blocks: Sequence[Block]) -> tuple[Passage, ...]:
    """Every word of the blocks, in order, headings included."""
    return tuple(drafted.passage() for drafted in _drafts(blocks))


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

    def passage(self) -> Passage:
        told = _bounded(self.above)
        body = self.text.strip()
        return Passage(text=f"{told}\n\n{body}" if told else body, page=self.page)


def _drafts(blocks: Iterable[Block]) -> Iterator[Draft]:
    path: list[tuple[int, str]] = []
    draft: Draft | None = None
    for block in blocks:
        if block.level:
            path = [(level, text) for level, text in path if level < block.level]
        above = tuple(text for _, text in path)
        for number, piece in enumerate(_pieces(block.text)):
            size = tokens(piece)
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


def _pieces(text: str, place: int = 0) -> Iterator[str]:
    """Parts of ``text`` that fit, together exactly ``text``; one that can't be cut anywhere is cut by length."""
    if tokens(text) <= BODY_TOKENS:
        if text.strip():
            yield text
        return
    if place == len(_CUTS):
        yield from (text[start : start + BODY_TOKENS] for start in range(0, len(text), BODY_TOKENS))
        return
    begin = 0
    for found in _CUTS[place].finditer(text):
        yield from _pieces(text[begin : found.end()], place + 1)
        begin = found.end()
    yield from _pieces(text[begin:], place + 1)


def _bounded(headings: Sequence[str]) -> str:
    """The innermost headings as far as they fit."""
    left = HEADING_TOKENS
    chosen: list[str] = []
    for heading in reversed(headings):
        left -= tokens(heading) + 1
        if left < 0:
            break
        chosen.append(heading)
    return PATH.join(reversed(chosen))
