"""Documents are read in a real child process, whatever is in them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from libs.shared.errors import (
    DocumentDamaged,
    InvalidRequest,
    Overloaded,
    ScannedDocument,
    ServiceError,
    TooLarge,
    UnsupportedDocument,
)
from services.cognition.documents import reading
from services.cognition.documents.reading import Allowance, Document, Reader
from tests.support.documents import bare_docx, locked_pdf, paragraph, pdf, scanned_pdf

LIMIT_S = 30
CANARY = "zanzibar-marmalade"


@pytest.fixture
def reader() -> Reader:
    return Reader(Allowance(time_s=LIMIT_S, memory_mib=1024))


async def read(reader: Reader, content: bytes, name: str = "lease", media_type: str | None = None) -> Document:
    async with asyncio.timeout(LIMIT_S):
        return await reader.read(content, name, media_type)


def texts(document: Document) -> str:
    return "\n".join(passage.text for passage in document.passages)


async def test_a_pdf_is_read_page_by_page_with_its_outline(reader: Reader) -> None:
    pages = [["Bail", "Le loyer est de 850 euros."], ["Dépôt", "Deux mois de loyer, payables d'avance."]]
    found = await read(reader, pdf(pages, outline={"Bail": 1, "Dépôt": 2}))
    assert (found.media_type, found.pages) == ("application/pdf", 2)
    assert [(p.page, p.text) for p in found.passages] == [
        (1, "Bail\n\nLe loyer est de 850 euros."),
        (2, "Dépôt\n\nDeux mois de loyer, payables d'avance."),
    ]


def word_document() -> bytes:
    import docx

    document: Any = docx.Document()
    document.add_heading("Lease", 0)
    document.add_paragraph("The rent is 850 euros.")
    document.add_heading("Deposit", 2)
    document.add_paragraph("Two months.", style="List Bullet")
    table = document.add_table(2, 2)
    for place, text in enumerate(("Name", "Rent", "Odile", "850")):
        table.cell(place // 2, place % 2).text = text
    out = BytesIO()
    document.save(out)
    return out.getvalue()


async def test_a_word_document_is_read_with_its_headings_and_tables(reader: Reader) -> None:
    found = await read(reader, word_document())
    assert found.pages is None
    assert [p.text for p in found.passages] == [
        "Lease\n\nThe rent is 850 euros.",
        "Lease\n\nDeposit\n\nTwo months.\n\nName | Rent\nOdile | 850",
    ]


async def test_insertions_links_and_controls_are_read_and_deletions_are_not(reader: Reader) -> None:
    body = (
        "<w:p><w:ins><w:r><w:t>inserted </w:t></w:r></w:ins><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:hyperlink><w:r><w:t>linked</w:t></w:r></w:hyperlink><w:r><w:tab/><w:t>after</w:t></w:r></w:p>"
        f"<w:sdt><w:sdtPr/><w:sdtContent>{paragraph('controlled')}</w:sdtContent></w:sdt>"
        "<w:p><w:r><w:txbxContent>" + paragraph("boxed") + "</w:txbxContent></w:r></w:p>"
    )
    found = texts(await read(reader, bare_docx(body)))
    assert found == "inserted linked\tafter\n\ncontrolled\n\nboxed"


async def test_a_pdf_whose_use_is_restricted_can_be_read(reader: Reader) -> None:
    found = await read(reader, locked_pdf("secret", may_open=True))
    assert texts(found) == "The rent is 850 euros."


def broken_xref() -> bytes:
    return pdf([["Rent"]]).replace(b"/Pages 2 0 R", b"/Pages 9 0 R")


def page_loop() -> bytes:
    return pdf([["Rent"]]).replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")


@pytest.mark.parametrize(
    ("content", "refusal", "words"),
    [
        (scanned_pdf(3), ScannedDocument, "text recognition"),
        (locked_pdf("secret"), DocumentDamaged, "password"),
        (pdf([["Rent"]])[:300], DocumentDamaged, "damaged"),
        (broken_xref(), DocumentDamaged, "damaged"),
        (page_loop(), DocumentDamaged, "damaged"),
        (bare_docx("<w:p>"), DocumentDamaged, "whole Word document"),
        (bare_docx(""), InvalidRequest, "no text"),
        (b"   \n\n", InvalidRequest, "no text"),
        (b"...!?", InvalidRequest, "no text"),
        (b"\x89PNG\r\n\x1a\n\0\0", UnsupportedDocument, "PDF"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_the_remedy(
    reader: Reader, content: bytes, refusal: type[ServiceError], words: str
) -> None:
    with pytest.raises(refusal) as refused:
        await read(reader, content)
    assert type(refused.value) is refusal
    assert words in refused.value.detail


async def test_a_pdf_of_scanned_pages_with_a_stamp_is_known_as_scanned(reader: Reader) -> None:
    with pytest.raises(ScannedDocument):
        await read(reader, pdf([["Scanned with a telephone"]] * 4))


async def test_a_word_document_reads_no_other_file(reader: Reader, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    head = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file://{secret}">]>'
    try:
        found = texts(await read(reader, bare_docx(paragraph("Rent &x;"), head=head)))
    except DocumentDamaged:
        return
    assert CANARY not in found


async def check_ends_in_time(reader: Reader, content: bytes) -> None:
    with pytest.raises((TooLarge, DocumentDamaged)):
        await read(reader, content)


async def test_entities_that_multiply_are_not_followed(reader: Reader) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    head = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e0 "rent">{entities}]>'
    try:
        found = await read(reader, bare_docx(paragraph("&e11; stays"), head=head))
    except DocumentDamaged:
        return
    assert len(texts(found)) < 1000


async def test_a_document_that_unpacks_to_too_much_is_refused() -> None:
    bomb = bare_docx(paragraph("rent " * 30_000_000))
    assert len(bomb) < 1_000_000
    await check_ends_in_time(Reader(Allowance(time_s=LIMIT_S, memory_mib=400)), bomb)


async def test_reading_that_takes_too_long_is_ended_and_nothing_stays_behind() -> None:
    quick = Reader(Allowance(time_s=0.05, memory_mib=1024))
    children = set(child_processes())
    with pytest.raises(TooLarge) as refused:
        await read(quick, pdf([["Rent"]] * 400))
    assert "too long" in refused.value.detail
    assert set(child_processes()) == children


async def test_a_caller_that_leaves_takes_the_child_along(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    started = asyncio.Event()

    async def endless(process: object, content: bytes) -> bytes:
        started.set()
        await asyncio.Event().wait()
        return content

    monkeypatch.setattr(reading, "_exchanged", endless)
    children = set(child_processes())
    asked = asyncio.create_task(read(reader, b"Rent"))
    async with asyncio.timeout(LIMIT_S):
        await started.wait()
        assert set(child_processes()) != children
        asked.cancel()
        await asyncio.wait([asked])
    assert set(child_processes()) == children


def child_processes() -> list[int]:
    """Of this process, dead ones included."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1] if entry.name.isdigit() else ""
        except OSError:
            continue
        if parent == str(os.getpid()):
            found.append(int(entry.name))
    return found


async def test_who_waits_too_long_in_line_is_refused(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_WAITING", 1)
    first = asyncio.create_task(read(reader, b"Rent"))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await read(reader, b"Rent")
    assert texts(await first) == "Rent"


async def check_silence(reader: Reader, capfd: pytest.CaptureFixture[str]) -> None:
    damaged = pdf([[CANARY]]).replace(b"/Pages 2 0 R", b"/Pages (" + CANARY.encode() + b")")
    for content in (damaged, bare_docx(f"<w:p>{CANARY}"), CANARY.encode() + b"\0"):
        with pytest.raises(ServiceError) as refused:
            await read(reader, content, name=f"{CANARY}.pdf")
        assert CANARY not in str(refused.value) + refused.value.detail + str(refused.value.data)
    out, errors = capfd.readouterr()
    assert CANARY not in out + errors


async def test_nothing_of_a_document_is_logged_or_told_in_an_error(
    reader: Reader, capfd: pytest.CaptureFixture[str]
) -> None:
    await check_silence(reader, capfd)


async def test_a_child_that_speaks_would_be_noticed(
    reader: Reader, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "talkative_reader.py"
    program.write_text("import sys; sys.stderr.write(sys.stdin.read()); sys.exit(1)")
    monkeypatch.setattr(reading, "PROGRAM", "talkative_reader")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(reading, "DEVNULL", None)
    with pytest.raises(AssertionError):
        await check_silence(reader, capfd)


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.abort()",
        "print('no json')",
        'print(\'{"kind": "text", "passages": [["", null]], "more": 1}\')',
        "print('{}')",
    ],
)
async def test_a_child_that_was_taken_over_is_not_believed(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    (tmp_path / "odd_reader.py").write_text(program)
    monkeypatch.setattr(reading, "PROGRAM", "odd_reader")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DocumentDamaged):
        await read(reader, b"Rent")


async def test_the_child_is_on_its_leash(reader: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It tells its own limits where a document's text would stand."""
    (tmp_path / "leashed_reader.py").write_text(
        "import json, os, resource, sys\n"
        "from services.cognition.documents.reader_process import leash\n"
        "leash(*map(int, sys.argv[2:]))\n"
        "limits = [resource.getrlimit(w)[1] for w in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)]\n"
        "told = f'{limits} {os.nice(0)} {sorted(os.environ)}'\n"
        "print(json.dumps({'kind': 'text', 'passages': [[told, None]]}))\n"
    )
    monkeypatch.setenv("MONGARS_SECRET", CANARY)
    monkeypatch.setattr(reading, "PROGRAM", "leashed_reader")
    monkeypatch.syspath_prepend(str(tmp_path))
    told = texts(await read(reader, b"Rent"))
    assert told.startswith(f"[{1024 * 2**20}, 0] 1")
    assert "MONGARS" not in told


async def test_a_child_whose_parent_is_another_reads_nothing(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(DocumentDamaged):
        await read(reader, b"Rent")


PARENT = """
import asyncio, sys
from services.cognition.documents import reading
reading.PROGRAM = "waiting_reader"
asyncio.run(reading.Reader(reading.Allowance(600, 1024)).read(b"Rent", "lease", None))
"""
WAITING = """
import os, sys, time
from services.cognition.documents.reader_process import leash
leash(*map(int, sys.argv[2:]))
os.write(int(os.environ["TELL"]), b"%d " % os.getpid())
time.sleep(600)
"""


async def check_a_killed_parent_takes_its_child_along(folder: Path, waiting: str) -> None:
    told, tell = os.pipe()
    (folder / "waiting_reader.py").write_text(waiting.replace('int(os.environ["TELL"])', str(tell)))
    (folder / "sitecustomize.py").write_text(
        "import subprocess\nbegin = subprocess.Popen.__init__\n"
        f"subprocess.Popen.__init__ = lambda s, *a, **k: begin(s, *a, **(k | {{'pass_fds': ({tell},)}}))\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, env=os.environ | {"PYTHONPATH": f"{folder}:{Path.cwd()}"}, pass_fds=(tell,)
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LIMIT_S):
            child = int(await asyncio.to_thread(os.read, told, 20))
            watch = os.pidfd_open(child)
            loop.add_reader(watch, ended.set)
            parent.kill()
            await parent.wait()
        async with asyncio.timeout(2):
            await ended.wait()
    finally:
        loop.remove_reader(watch)
        if not ended.is_set():
            os.kill(child, signal.SIGKILL)
        for descriptor in (told, tell, watch):
            os.close(descriptor)


async def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    await check_a_killed_parent_takes_its_child_along(tmp_path, WAITING)


async def test_a_child_that_stays_behind_would_be_noticed(tmp_path: Path) -> None:
    free = WAITING.replace("leash(*map(int, sys.argv[2:]))", "")
    with pytest.raises(TimeoutError):
        await check_a_killed_parent_takes_its_child_along(tmp_path, free)
