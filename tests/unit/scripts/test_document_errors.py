"""Every error code has its line in docs/errors.md."""

from __future__ import annotations

from cli.doctor.findings import KINDS
from scripts.document_errors import DOCUMENT, declared, document


def test_every_code_of_errors_and_of_the_doctor_has_its_line() -> None:
    text = document()
    for code in (*declared(), *KINDS):
        assert text.count(f"\n| `{code}` |") == 1


def test_the_page_says_what_the_code_says() -> None:
    assert DOCUMENT.read_text() == document()
