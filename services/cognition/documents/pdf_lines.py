"""From the lines of pages to paragraphs: what every page repeats goes, words that a line breaks are joined. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

EDGE_LINES = 2
"""At the head and at the foot of each page, so many lines may be repeated on others."""
REPEATED_SHARE = 0.4
"""Books have one header on the left pages and another on the right."""
REPEATED_PAGES = 3
_NUMBERS_IN_A_LINE = 3
_NUMBER = re.compile(r"\d{1,5}")
_BROKEN = re.compile(r"([^\W\d_]+)[-\u00ad\u2010]$")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_WORDS = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
_LEADERS = re.compile(r"(?:[^\S\n]?[.·_…]){5,}")
_BULLET = re.compile(r"(?:[•◦▪‣·*–—-]|\(?\w{1,3}[.)])\s")
_ENDS = tuple('.!?:;…»”")')
_CLITICS = "je tu il elle on nous vous ils elles ce ci là même mêmes moi toi lui leur le la les en y"
_KEPT_HYPHENS = frozenset(_CLITICS.split(" "))
"""French words that a hyphen ties to the verb before them."""


class Split(NamedTuple):
    """Pages as they read, and whether nothing but furniture was on them."""

    pages: list[list[str]]
    only_furniture: bool


def without_furniture(pages: Sequence[Sequence[str]]) -> Split:
    """Running heads and page numbers apart: lines at a page's edge that many pages share, with their numbers equal or
    rising with the page. Where such a line stands first it is kept: it may be the title."""
    edges = [_edges(lines) for lines in pages]
    seen: Counter[str] = Counter()
    for number, places in enumerate(edges):
        seen.update({key for place in places for key in _keys(pages[number][place], number)})
    least = max(REPEATED_PAGES, REPEATED_SHARE * len(pages))
    repeated = {key for key, count in seen.items() if count >= least}
    told: set[str] = set()
    kept: list[list[str]] = []
    only_furniture = True
    for number, lines in enumerate(pages):
        page = []
        for place, line in enumerate(lines):
            keys = _keys(line, number) & repeated if place in edges[number] else set()
            if not keys & told:
                page.append(line)
            told |= keys
            only_furniture &= bool(keys) or not line.strip()
        kept.append(page)
    return Split(kept, only_furniture)


def _edges(lines: Sequence[str]) -> set[int]:
    full = [place for place, line in enumerate(lines) if line.strip()]
    return {*full[:EDGE_LINES], *full[-EDGE_LINES:]}


def _keys(line: str, page: int) -> set[str]:
    """Ways to see the line as one of many: each number may be the same everywhere, or count the pages."""
    squeezed = " ".join(line.split()).casefold()
    numbers = _NUMBER.findall(squeezed)
    if len(numbers) > _NUMBERS_IN_A_LINE:
        return {squeezed}
    frame = _NUMBER.sub("{}", squeezed.replace("{", "(").replace("}", ")"))
    ways = product(*((number, f"<{int(number) - page:+d}>") for number in numbers))
    return {frame.format(*way) for way in ways}


def without_leaders(line: str) -> str:
    """The dots of a table of contents, which mean nothing, as one mark."""
    return _LEADERS.sub(" … ", line)


def vocabulary(pages: Sequence[Sequence[str]]) -> frozenset[str]:
    """The words of the document, those with hyphens whole; words that a line's end breaks are not among them."""
    return frozenset(
        word.casefold() for lines in pages for line in lines for word in _WORDS.findall(_BROKEN.sub("", line.rstrip()))
    )


def paragraphs(lines: Sequence[str], width: int, known: frozenset[str]) -> list[str]:
    """A page's lines as paragraphs. ``width`` is that of a full line; a short one ends a paragraph, or stays a line."""
    found: list[str] = []
    before = ""
    for line in (line.strip() for line in lines):
        if line and before:
            found[-1] = _joined(found[-1], before, line, width, known) if _goes_on(before, line, width) else found[-1]
        if line and not (before and _goes_on(before, line, width)):
            found.append(line)
        before = line
    return found


def full_width(pages: Sequence[Sequence[str]]) -> int:
    """The length that nine of ten lines do not exceed."""
    lengths = sorted(len(line.strip()) for lines in pages for line in lines if line.strip())
    return lengths[int(len(lengths) * 0.9)] if lengths else 0


def _goes_on(before: str, line: str, width: int) -> bool:
    """Whether ``line`` belongs to the paragraph of the line before it."""
    if _BULLET.match(line):
        return False
    return not (before.endswith(_ENDS) and len(before) < 0.8 * width)


def _joined(text: str, before: str, line: str, width: int, known: frozenset[str]) -> str:
    broken, begins = _BROKEN.search(text), _FIRST_WORD.match(line)
    if broken and begins and begins[0][0].islower():
        return _unbroken(text, broken[1], begins[0], known) + line
    return f"{text}\n{line}" if len(before) < 0.6 * width else f"{text} {line}"


def _unbroken(text: str, head: str, tail: str, known: frozenset[str]) -> str:
    """Without the hyphen, unless the word has one: as the rest of the document writes it, or as French does."""
    whole, tied = f"{head}{tail}".casefold(), f"{head}-{tail}".casefold()
    soft = text[-1] == "\u00ad"
    if not soft and whole not in known and (tied in known or tail in _KEPT_HYPHENS):
        return text
    return text[:-1]
