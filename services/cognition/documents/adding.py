"""ADD_DOCUMENT: a file is read, cut, kept in one transaction, and answered for once it can be found."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.documents import (
    ADD_DOCUMENT,
    LARGEST_DOCUMENT,
    READ_DOCUMENT,
    AddDocument,
    DocumentAdded,
    DocumentRef,
)
from libs.shared.contracts.keeping import KEEP_DOCUMENT, KeepDocument, KeptMemories
from libs.shared.contracts.memory import Fact
from libs.shared.errors import InvalidRequest, Overloaded, TimedOut, TooLarge
from libs.shared.telemetry import get_logger
from services.cognition.documents.reading import Document, Reader
from services.cognition.importing import NO_EMBEDDER, PORTIONS, Admission
from services.cognition.measuring import measured
from services.cognition.searchable import Searchable, Text, Wanted, of_kept

SPARE_S = 40.0
"""Of the contract's time, for writing and answering once no more vectors are made."""
VECTORS_LATER = "vectors-later"
"""So long a document that its vectors are made in the background; its words are found at once."""

log = get_logger(__name__)


async def no_facts(user_id: str, texts: Sequence[Text]) -> tuple[Fact, ...]:
    """A document's sentences aren't the user's statements."""
    return ()


class Documents:
    """Adds documents to a user's memory."""

    def __init__(
        self, bus: Bus, searchable: Searchable, reader: Reader, admission: Admission, clock: Callable[[], datetime]
    ) -> None:
        self._bus = bus
        self._searchable = searchable
        self._reader = reader
        self._admission = admission
        self._clock = clock

    async def add(self, request: AddDocument) -> DocumentAdded:
        """Raises as AddDocument says, Overloaded, and what persistence raises."""
        ends_at = monotonic() + ADD_DOCUMENT.timeout_s - SPARE_S
        _check(request)
        async with self._admission.entered(request.user_id):
            read = await self._reader.read(request.content, request.name, request.media_type)
            with measured("upsert_memory"):
                kept = await self._keep(request, read)
                degraded = await self._index(request.user_id, kept, ends_at) if kept.items else None
        assert kept.conversation_id is not None
        ref = DocumentRef(user_id=request.user_id, document_id=kept.conversation_id)
        document = await self._bus.request(READ_DOCUMENT, ref)
        return DocumentAdded(document=document, changed=bool(kept.items), degraded=degraded)

    async def _keep(self, request: AddDocument, read: Document) -> KeptMemories:
        digest = await asyncio.to_thread(lambda: hashlib.sha256(request.content).hexdigest())
        document = KeepDocument(
            user_id=request.user_id,
            name=request.name,
            media_type=read.media_type,
            size=len(request.content),
            digest=digest,
            pages=read.pages,
            passages=read.passages,
            at=self._clock(),
        )
        return await self._bus.request(KEEP_DOCUMENT, document)

    async def _index(self, user_id: str, kept: KeptMemories, ends_at: float) -> str | None:
        """Why vectors are missing, if any are: the jobs that were made for them go on in the background."""
        wanted = Wanted(
            user_id=user_id, embedder=kept.embedder, jobs=kept.job_ids, background=False, vectors_by=ends_at
        )
        outcome = await self._searchable.make(of_kept(kept), wanted, PORTIONS)
        if outcome.failure is None:
            return None
        log.info("document_without_vectors", code=outcome.failure.code)
        return VECTORS_LATER if isinstance(outcome.failure, (Overloaded, TimedOut)) else NO_EMBEDDER


def _check(request: AddDocument) -> None:
    if not request.content:
        raise InvalidRequest("the file is empty", errors=[])
    if len(request.content) > LARGEST_DOCUMENT:
        raise TooLarge(f"a document may have {LARGEST_DOCUMENT // 2**20} MiB")
