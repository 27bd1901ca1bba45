"""Reading Word documents: paragraphs, lists and tables in the order of the page, headings by their style."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import docx
from docx.oxml.ns import qn
from lxml.etree import LxmlError

from libs.shared.errors import DocumentDamaged
from services.cognition.documents.blocks import Block, Contents, tidy

_PARAGRAPH, _TABLE, _ROW, _CELL = (qn(name) for name in ("w:p", "w:tbl", "w:tr", "w:tc"))
_TEXT, _TAB, _BREAK, _RETURN = (qn(name) for name in ("w:t", "w:tab", "w:br", "w:cr"))
_HYPHEN = qn("w:noBreakHyphen")
_PROPERTIES = frozenset(map(qn, ("w:pPr", "w:rPr", "w:tblPr", "w:trPr", "w:tcPr", "w:sectPr", "w:sdtPr")))
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
"""The same text once more, for programs that can't show the first."""
_WHITE = {_TAB: "\t", _BREAK: "\n", _RETURN: "\n", _HYPHEN: "-"}
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_TITLES = frozenset({"title"})
_DEEPEST = 64
"""Levels of boxes and tables within each other that are followed; lxml itself refuses more than 256."""


def read_docx(content: bytes) -> Contents:
    """Raises DocumentDamaged. Word keeps no pages: they arise when it is printed."""
    try:
        document = docx.Document(BytesIO(content))
        levels = _heading_levels(document)
        return Contents(tuple(_blocks(document.element.body, levels)))
    except (
        BadZipFile,
        zlib.error,
        LxmlError,
        KeyError,
        ValueError,
        EOFError,
        AttributeError,
        NotImplementedError,
    ) as error:
        raise DocumentDamaged("the file is not a whole Word document: save it again from Word") from error


def _heading_levels(document: Any) -> dict[str, int]:
    """Style id → level, by the styles' built-in names, which are English in every language of Word."""
    levels = {}
    for style in document.styles:
        name = (style.name or "").casefold()
        if found := _HEADING.fullmatch(name):
            levels[style.style_id] = int(found[1])
        elif name in _TITLES:
            levels[style.style_id] = 1
    return levels


def _blocks(parent: Any, levels: dict[str, int], depth: int = 0) -> Iterator[Block]:
    """Those of ``parent`` and of whatever else may hold paragraphs, such as a content control."""
    if depth > _DEEPEST:
        return
    for child in parent.iterchildren("*"):
        if child.tag == _PARAGRAPH:
            text = _text_of(child)
            if text.strip():
                yield Block(text, level=levels.get(_style_of(child), 0))
            yield from _boxes(child, levels, depth)
        elif child.tag == _TABLE:
            rows = [row for row in map(_row_text, child.iter(_ROW)) if row.strip(" |")]
            if rows:
                yield Block("\n".join(rows))
        elif child.tag not in _PROPERTIES and child.tag != _FALLBACK:
            yield from _blocks(child, levels, depth + 1)


def _boxes(paragraph: Any, levels: dict[str, int], depth: int) -> Iterator[Block]:
    """Text boxes that are anchored in the paragraph."""
    for box in paragraph.iter(qn("w:txbxContent")):
        if not any(above.tag == _FALLBACK for above in box.iterancestors()):
            yield from _blocks(box, levels, depth + 1)


def _style_of(paragraph: Any) -> str:
    found = paragraph.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
    return "" if found is None else str(found.get(qn("w:val"), ""))


def _text_of(paragraph: Any) -> str:
    """Of its runs, links, fields and tracked insertions; not what was deleted, and not the boxes anchored in it."""
    parts: list[str] = []
    for element in paragraph.iter(_TEXT, *_WHITE):
        if _own(element, paragraph):
            parts.append(element.text or "" if element.tag == _TEXT else _WHITE[element.tag])
    return tidy("".join(parts)).strip()


def _own(element: Any, paragraph: Any) -> bool:
    for above in element.iterancestors():
        if above is paragraph:
            return True
        if above.tag in (_PARAGRAPH, _FALLBACK) or above.tag in _PROPERTIES:
            return False
    return False


def _row_text(row: Any) -> str:
    """Cells beside each other, as in a Markdown table; a table within a cell follows as rows of its own."""
    cells = []
    for cell in row.iter(_CELL):
        if next(cell.iterancestors(_ROW)) is row:
            own = [p for p in cell.iter(_PARAGRAPH) if next(p.iterancestors(_CELL)) is cell]
            cells.append(" ".join(filter(None, map(_text_of, own))).replace("\n", " "))
    return " | ".join(cells)
