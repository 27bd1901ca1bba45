"""What a file is, and the text in it."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.errors import DocumentDamaged, ServiceError, TooLarge, UnsupportedDocument
from services.cognition.documents import kinds
from services.cognition.documents.blocks import Block
from services.cognition.documents.kinds import Kind, recognise, text_kind
from services.cognition.documents.markdown import read_markdown
from services.cognition.documents.plain import decoded, read_text
from tests.support.documents import bare_docx, paragraph, pdf


@pytest.mark.parametrize(
    ("name", "media_type", "kind"),
    [
        ("notes.md", None, Kind.MARKDOWN),
        ("C:\\notes\\A.MARKDOWN", None, Kind.MARKDOWN),
        ("notes", "text/markdown; charset=utf-8", Kind.MARKDOWN),
        ("notes.txt", None, Kind.TEXT),
        ("a.md/notes.txt", "text/plain", Kind.TEXT),
    ],
)
def test_the_name_says_how_text_is_meant(name: str, media_type: str | None, kind: Kind) -> None:
    assert text_kind(name, media_type) is kind


def test_the_content_says_more_than_the_name() -> None:
    assert recognise(pdf([["Rent"]]), Kind.MARKDOWN) is Kind.PDF
    assert recognise(bare_docx(paragraph("Rent")), Kind.TEXT) is Kind.DOCX
    assert recognise(b"\0\0\0\0" + pdf([["Rent"]]), Kind.TEXT) is Kind.PDF, "mail programs put bytes before it"
    assert recognise(b"# PDF\n\nSuch a file begins with `%PDF-1.7`.", Kind.MARKDOWN) is Kind.MARKDOWN
    assert recognise("Loyer: 850 €".encode("cp1252"), Kind.TEXT) is Kind.TEXT
    assert recognise(codecs.BOM_UTF16_LE + "Loyer".encode("utf-16-le"), Kind.TEXT) is Kind.TEXT


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"<!DOCTYPE html><p>Rent",
        b"\xef\xbb\xbf  <html><p>Rent",
        b"{\\rtf1 Rent}",
        bytes.fromhex("d0cf11e0a1b11ae1") + b"Rent",
        b"\x01\x02\x03\x04 Rent",
    ],
)
def test_other_kinds_are_refused_with_those_that_are_read(content: bytes) -> None:
    with pytest.raises(UnsupportedDocument) as refused:
        recognise(content, Kind.TEXT)
    assert kinds.READ_KINDS in refused.value.detail


def test_an_archive_that_is_no_word_document_is_refused() -> None:
    whole = bare_docx(paragraph("Rent"))
    with pytest.raises(UnsupportedDocument):
        recognise(whole.replace(b"word/document.xml", b"text/document.xml"), Kind.TEXT)
    with pytest.raises(DocumentDamaged):
        recognise(whole[: len(whole) // 2], Kind.TEXT)


def test_an_archive_that_claims_to_unpack_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = bare_docx(paragraph("Rent"), bomb=b"0" * 1_000_000)
    assert len(bomb) < 5_000
    monkeypatch.setattr(kinds, "UNPACKED_BYTES", 900_000)
    with pytest.raises(TooLarge):
        recognise(bomb, Kind.TEXT)


@given(st.binary(max_size=300))
def test_any_bytes_are_recognised_or_refused(content: bytes) -> None:
    try:
        kind = recognise(content, Kind.TEXT)
    except ServiceError:
        return
    if kind is Kind.TEXT:
        decoded(content).encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_the_encodings_that_people_have(encoding: str) -> None:
    assert decoded("L'été à 850 €".encode(encoding)) == "L'été à 850 €"


def test_what_neither_utf_8_nor_windows_knows_is_latin_1() -> None:
    assert decoded(b"caf\xe9 \x81") == "café \x81"


def test_a_wrong_byte_order_mark_is_told() -> None:
    with pytest.raises(DocumentDamaged):
        decoded(codecs.BOM_UTF8 + b"caf\xe9")


def test_paragraphs_are_blocks_whatever_ends_a_line() -> None:
    assert read_text(b"One\r\nline\r\n \r\nTwo\r\rThree").blocks == (Block("One\nline"), Block("Two"), Block("Three"))


MARKDOWN = b"""---
title: Lease
---
# Lease of a *garden*

The rent is **850** euros.

Setext
------
- one
- two

[link]: http://example.org/rent

| a | b |
|---|---|
| 1 | 2 |

```
# no heading
```
> quoted
"""


def test_markdown_keeps_its_words_and_knows_its_headings() -> None:
    blocks = read_markdown(MARKDOWN).blocks
    assert [(b.level, b.text) for b in blocks if b.level] == [(1, "Lease of a *garden*"), (2, "Setext")]
    texts = [b.text for b in blocks if not b.level]
    assert texts[0] == "---\ntitle: Lease\n---"
    assert "[link]: http://example.org/rent" in "".join(texts)
    assert "```\n# no heading\n```" in texts
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in texts


@given(st.text(st.sampled_from("abc #-*>`|\n[]:()_=1."), max_size=200))
def test_no_markdown_loses_a_letter(text: str) -> None:
    found = "".join(block.text for block in read_markdown(text.encode()).blocks)
    assert [c for c in found if c.isalpha()] == [c for c in text if c.isalpha()]
