"""What becomes of a document once it was read: kept, found at once, and honest about what is missing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.shared.contracts.documents import LARGEST_DOCUMENT, READ_DOCUMENT, AddDocument, Document, DocumentRef
from libs.shared.contracts.keeping import KEEP_DOCUMENT, KeepDocument, KeptMemories
from libs.shared.contracts.memory import MemoryItem, MemoryKind
from libs.shared.errors import InvalidRequest, Overloaded, ServiceError, TooLarge, UnsupportedDocument
from services.cognition.documents import adding
from services.cognition.documents.adding import Documents, no_facts
from services.cognition.documents.reading import Allowance, Reader
from services.cognition.embedding import Embedder
from services.cognition.importing import Admission
from services.cognition.outcomes import Outcomes
from services.cognition.searchable import Searchable
from tests.unit.cognition.conftest import Build, Household

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TEXT = b"My landlord is called Odile. I live in Rimouski.\n\nThe rent is 850 euros."


class Shelf:
    """Persistence's part: keeps documents by name."""

    def __init__(self) -> None:
        self.kept: list[KeepDocument] = []

    async def keep(self, request: KeepDocument) -> KeptMemories:
        if any(known.digest == request.digest for known in self.kept):
            return KeptMemories(items=(), present=len(request.passages), conversation_id="d1")
        self.kept.append(request)
        items = tuple(
            MemoryItem(
                id=f"p{n}", kind=MemoryKind.PASSAGE, text=p.text, source_id=f"p{n}", conversation_id="d1",
                speaker="user", at=request.at, title=request.name, page=p.page,
            )
            for n, p in enumerate(request.passages)
        )  # fmt: skip
        return KeptMemories(items=items, job_ids=("j1",), conversation_id="d1")

    async def read(self, ref: DocumentRef) -> Document:
        kept = self.kept[-1]
        return Document(
            document_id=ref.document_id, name=kept.name, media_type=kept.media_type, size=kept.size, pages=kept.pages,
            passages=len(kept.passages), added_at=kept.at,
        )  # fmt: skip


async def furnished(home: Household, **changes: Any) -> tuple[Documents, Shelf]:
    shelf = Shelf()
    await home.persistence.bus.serve(KEEP_DOCUMENT, shelf.keep)
    await home.persistence.bus.serve(READ_DOCUMENT, shelf.read)
    searchable = Searchable(home.cognition, Embedder(home.cognition, Outcomes(home.cognition)), no_facts)
    reader = Reader(Allowance(time_s=30.0, memory_mib=1024))
    admission = changes.get("admission") or Admission()
    return Documents(home.cognition, searchable, reader, admission, lambda: NOW), shelf


def add(content: bytes = TEXT, name: str = "lease.txt") -> AddDocument:
    return AddDocument(user_id="u1", name=name, content=content)


async def test_a_document_has_terms_and_vectors_when_it_is_answered_and_its_job_is_done(household: Build) -> None:
    home = await household(embedder=True)
    documents, shelf = await furnished(home)
    told = await documents.add(add())
    assert (told.changed, told.degraded, told.document.passages) == (True, None, 1)
    (written,) = home.persistence.indexed
    assert (written.done_jobs, [row.message_id for row in written.rows]) == (("j1",), ["p0"])
    assert written.rows[0].vector is not None
    assert {"landlord", "odil", "850"} <= written.rows[0].terms.keys()
    assert shelf.kept[0].media_type == "text/plain"


async def test_nothing_is_taken_for_a_fact_about_the_user(household: Build) -> None:
    home = await household(embedder=True)
    documents, _ = await furnished(home)
    await documents.add(add())
    assert "KeepFacts" not in {type(question).__name__ for question in home.persistence.asked}


async def test_word_for_word_the_same_changes_nothing(household: Build) -> None:
    home = await household(embedder=True)
    documents, shelf = await furnished(home)
    await documents.add(add())
    again = await documents.add(add())
    assert (again.changed, again.document.passages, len(shelf.kept)) == (False, 1, 1)
    assert len(home.persistence.indexed) == 1


async def test_without_an_embedder_it_is_found_by_its_words_and_the_job_stays(household: Build) -> None:
    home = await household()
    documents, _ = await furnished(home)
    told = await documents.add(add())
    assert (told.changed, told.degraded) == (True, "no-embedder")
    (written,) = home.persistence.indexed
    assert written.rows[0].terms
    assert written.rows[0].vector is None
    assert written.done_jobs == ()


async def test_what_takes_too_long_to_embed_is_answered_for_by_its_words(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "SPARE_S", 1e6)
    home = await household(embedder=True)
    documents, _ = await furnished(home)
    told = await documents.add(add())
    assert told.degraded == "vectors-later"
    assert home.persistence.indexed[0].rows[0].terms
    assert home.persistence.indexed[0].done_jobs == ()


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"", InvalidRequest),
        (b"x" * (LARGEST_DOCUMENT + 1), TooLarge),
        (b"\x89PNG\r\n\x1a\n\0\0", UnsupportedDocument),
    ],
)
async def test_a_refused_document_is_never_kept(household: Build, content: bytes, refusal: type[ServiceError]) -> None:
    home = await household(embedder=True)
    documents, shelf = await furnished(home)
    with pytest.raises(refusal):
        await documents.add(add(content))
    assert shelf.kept == []
    assert home.persistence.indexed == []


async def test_too_many_at_once_are_refused(household: Build) -> None:
    home = await household(embedder=True)
    documents, _ = await furnished(home, admission=Admission(at_once=1, waiting=0))
    async with asyncio.timeout(20):
        first, second = await asyncio.gather(documents.add(add()), documents.add(add()), return_exceptions=True)
    assert isinstance(second, Overloaded)
    assert not isinstance(first, BaseException)


def test_the_service_holds_no_parser_in_its_memory() -> None:
    program = "import services.cognition.service, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert "services.cognition.documents.reading" in loaded
    assert loaded.isdisjoint({"pypdf", "docx", "lxml", "markdown_it"})
