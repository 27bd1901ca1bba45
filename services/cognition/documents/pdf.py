"""Reading PDF: the text of each page, in paragraphs, with the headings that its outline names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from libs.shared.errors import DocumentDamaged, ScannedDocument
from services.cognition.documents import pdf_lines
from services.cognition.documents.blocks import Block, Contents, tidy

_TAIL = 4096
_OUTLINE_ENTRIES = 5000
_OUTLINE_DEPTH = 6
_DAMAGED = "the PDF is cut short or damaged: bring it again, or print it to a new PDF"
_FAULTS = (
    PyPdfError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What pypdf raises on files that aren't what they claim to be; it promises no one class."""

Titles = dict[tuple[int, str], int]
"""(page, squeezed title) → level."""


def read_pdf(content: bytes) -> Contents:
    """Raises DocumentDamaged (with a password, too), ScannedDocument."""
    if b"%%EOF" not in content.rstrip(b"\0 \t\r\n")[-_TAIL:]:
        raise DocumentDamaged(_DAMAGED)
    reader = _opened(content)
    pages = _page_lines(reader)
    lines, only_furniture = pdf_lines.without_furniture(pages)
    if only_furniture:
        raise ScannedDocument("its pages are pictures without text: run it through text recognition (OCR) first")
    return Contents(tuple(_blocks(lines, _titles(reader))), len(pages))


def _opened(content: bytes) -> PdfReader:
    try:
        reader = PdfReader(BytesIO(content))
        locked = reader.is_encrypted and not reader.decrypt("")
    except _FAULTS as error:
        raise DocumentDamaged(_DAMAGED) from error
    if locked:
        raise DocumentDamaged("the PDF needs a password: save it without one")
    return reader


def _page_lines(reader: PdfReader) -> list[list[str]]:
    pages: list[list[str]] = []
    try:
        for page in reader.pages:
            pages.append(pdf_lines.without_leaders(tidy(page.extract_text())).split("\n"))
    except _FAULTS as error:
        raise DocumentDamaged(f"{_DAMAGED} (page {len(pages) + 1} can't be read)") from error
    return pages


def _blocks(pages: list[list[str]], titles: Titles) -> Iterator[Block]:
    width, known = pdf_lines.full_width(pages), pdf_lines.vocabulary(pages)
    for number, lines in enumerate(pages, start=1):
        run: list[str] = []
        for line in lines:
            level = titles.get((number, _squeezed(line)))
            if level is None:
                run.append(line)
                continue
            yield from (Block(text, page=number) for text in pdf_lines.paragraphs(run, width, known))
            yield Block(line.strip(), level, number)
            run = []
        yield from (Block(text, page=number) for text in pdf_lines.paragraphs(run, width, known))


def _titles(reader: PdfReader) -> Titles:
    """Where the outline says that a heading stands. A broken outline costs the headings, not the text."""
    titles: Titles = {}
    try:
        for entry, level in _flat(reader.outline):
            page = reader.get_destination_page_number(entry)
            title = _squeezed(tidy(entry.title or ""))
            if page is not None and title and len(titles) < _OUTLINE_ENTRIES:
                titles.setdefault((page + 1, title), level)
    except _FAULTS:
        return {}
    return titles


def _flat(outline: Iterable[Any], level: int = 1) -> Iterator[tuple[Any, int]]:
    for entry in outline:
        if not isinstance(entry, list):
            yield entry, level
        elif level < _OUTLINE_DEPTH:
            yield from _flat(entry, level + 1)


def _squeezed(line: str) -> str:
    return "".join(line.split()).casefold()
