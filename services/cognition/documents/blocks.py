"""What a reader gives of a document: its headings and paragraphs, in order."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_LIGATURES = {ord(c): unicodedata.normalize("NFKC", c) for c in "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"}
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029\x85\x0b\x0c]")


@dataclass(frozen=True)
class Block:
    """A heading (``level`` from 1) or a piece of text (0)."""

    text: str
    level: int = 0
    page: int | None = None
    """From 1; None where the format has no pages."""


@dataclass(frozen=True)
class Contents:
    """A whole document."""

    blocks: tuple[Block, ...]
    pages: int | None = None


def tidy(text: str) -> str:
    """One kind of line end, composed letters, ligatures spelled out, and nothing that can't be stored or shown."""
    text = _UNREADABLE.sub(" ", _LINE_ENDS.sub("\n", text))
    return unicodedata.normalize("NFC", text.translate(_LIGATURES))
