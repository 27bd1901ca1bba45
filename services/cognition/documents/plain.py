"""Reading plain text: its encoding, and its paragraphs. Pure."""

from __future__ import annotations

import codecs
import re

from libs.shared.errors import DocumentDamaged
from services.cognition.documents.blocks import Block, Contents, tidy

_ENCODINGS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BLANK = re.compile(r"\n[^\S\n]*\n\s*")


def decoded(content: bytes) -> str:
    """By its byte order mark, else UTF-8, else as Windows and Latin-1 write Western languages.

    Raises DocumentDamaged when the mark promises what isn't there.
    """
    for mark, encoding in _ENCODINGS:
        if content.startswith(mark):
            try:
                return tidy(content.decode(encoding))
            except UnicodeDecodeError as error:
                raise DocumentDamaged("the text is not what its byte order mark says: save it as UTF-8") from error
    for encoding in ("utf-8", "cp1252"):
        try:
            return tidy(content.decode(encoding))
        except UnicodeDecodeError:
            continue
    return tidy(content.decode("latin-1"))


def paragraphs(text: str) -> list[str]:
    """What blank lines part; never an empty one."""
    return [part.strip("\n") for part in _BLANK.split(text) if part.strip()]


def read_text(content: bytes) -> Contents:
    """Every paragraph a block."""
    return Contents(tuple(Block(part) for part in paragraphs(decoded(content))))
