"""Which kind of file a document is: by its content first, by its name where the content leaves it open. Pure."""

from __future__ import annotations

import codecs
import zipfile
from enum import StrEnum
from io import BytesIO
from pathlib import PurePosixPath

from libs.shared.errors import DocumentDamaged, TooLarge, UnsupportedDocument

READ_KINDS = "plain text, Markdown, PDF and Word (.docx) documents are read"
UNPACKED_BYTES = 192 * 1024 * 1024
"""Of all members of an archive together, as it declares them; none is unpacked beyond what it declares."""
MEMBERS = 10_000
WORD_BODY = "word/document.xml"

_MARKDOWN_NAMES = frozenset({".md", ".markdown", ".mdown", ".mkd"})
_MARKDOWN_TYPES = frozenset({"text/markdown", "text/x-markdown"})
_HEAD = 1024
_PDF = b"%PDF-"
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_MARKUP = (b"<!doctype html", b"<html", b"<?xml", b"{\\rtf", b"%!ps")
"""Text for programs rather than for people: what it says stands between its marks."""
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))
_CONTROL_SHARE = 0.002


class Kind(StrEnum):
    """What is read."""

    TEXT = "text"
    MARKDOWN = "markdown"
    PDF = "pdf"
    DOCX = "docx"


MEDIA_TYPES = {
    Kind.TEXT: "text/plain",
    Kind.MARKDOWN: "text/markdown",
    Kind.PDF: "application/pdf",
    Kind.DOCX: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


def text_kind(name: str, media_type: str | None) -> Kind:
    """What a document is if it turns out to be text."""
    told = (media_type or "").partition(";")[0].strip().casefold()
    ending = PurePosixPath(name.replace("\\", "/")).suffix.casefold()
    return Kind.MARKDOWN if told in _MARKDOWN_TYPES or ending in _MARKDOWN_NAMES else Kind.TEXT


def recognise(content: bytes, if_text: Kind) -> Kind:
    """Raises UnsupportedDocument, DocumentDamaged, TooLarge."""
    head = content[:_HEAD]
    if content.startswith(_PDF) or (_PDF in head and not _is_text(content)):  # a text may speak of such files
        return Kind.PDF
    if head.startswith(b"PK\x03\x04"):
        return _of_archive(content)
    if head.startswith(_OLE):
        raise UnsupportedDocument(
            f"an old Word file, or one with a password; save it as .docx without one: {READ_KINDS}"
        )
    if head.lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower().startswith(_MARKUP) or not _is_text(content):
        raise UnsupportedDocument(READ_KINDS)
    return if_text


def _is_text(content: bytes) -> bool:
    if content.startswith(_BOMS):
        return True
    controls = len(content) - len(content.translate(None, _CONTROLS))
    return b"\0" not in content and controls <= len(content) * _CONTROL_SHARE


def _of_archive(content: bytes) -> Kind:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise DocumentDamaged("the file is cut short or damaged: save it again from Word") from error
    if len(members) > MEMBERS or sum(member.file_size for member in members) > UNPACKED_BYTES:
        raise TooLarge("the document unpacks to more than can be read; split it")
    if not any(member.filename == WORD_BODY for member in members):
        raise UnsupportedDocument(READ_KINDS)
    if any(member.flag_bits & 1 for member in members):
        raise DocumentDamaged("the document needs a password: save it without one")
    return Kind.DOCX
