"""Making memories searchable: what is left to index, and taking in terms and vectors. Always within one user."""

from __future__ import annotations

import numpy as np

from libs.shared.contracts.indexing import (
    Indexed,
    IndexMessages,
    ReadUnindexed,
    UnindexedMessage,
    UnindexedMessages,
)
from libs.shared.contracts.memory import MemoryKind
from libs.shared.errors import InvalidRequest
from services.persistence import takeover
from services.persistence.additions import Addition
from services.persistence.opening import open_many, open_message
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, segments
from services.persistence.tables.index import TERMS

ANY_EMBEDDER = "*"
"""In place of an embedder where a user has no vectors yet, or all are wanted: everything lacks one of it."""


async def read_unindexed(request: ReadUnindexed, parts: Parts) -> UnindexedMessages:
    """Texts to index; those that are forgotten, not to be remembered, or have what is wanted are absent."""
    in_use = (await parts.indexes.profile(request.user_id)).embedder
    lacking = ANY_EMBEDDER if request.indexed_too else in_use or ANY_EMBEDDER
    wanted = (request.embedder,) if request.embedder else (TERMS, lacking)
    async with parts.database.plainly() as driver:
        rows = await segments.read_unindexed(driver, request.user_id, request.message_ids, wanted)
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    opened = await open_many(rows, lambda row: open_message(parts.keys, user, row))
    return UnindexedMessages(
        messages=tuple(
            UnindexedMessage(
                message_id=row.message_id,
                kind=MemoryKind(row.kind),
                speaker=message.speaker,
                text=message.text,
                at=row.at,
                importance=row.importance,
                version=row.slot,
            )
            for row, message in zip(rows, opened, strict=True)
            if message is not None
        ),
        embedder=request.embedder or in_use,
    )


async def index_messages(request: IndexMessages, parts: Parts) -> Indexed:
    """Makes memories searchable; what is there already is left as it is."""
    _check(request)
    rows = {row.message_id: row for row in request.rows}
    addition = Addition(request.user_id, request.embedder, tuple(rows.values()), request.done_jobs)
    before = await parts.indexes.profile(request.user_id) if addition.dimensions else None
    count = await parts.indexes.add(addition)
    if before is not None and request.embedder is not None:
        if request.done_jobs:
            parts.indexing.last_vectors_at = parts.clock()
        await takeover.heard(request.user_id, request.embedder, before.embedder, parts)
    return Indexed(count=count)


def _check(request: IndexMessages) -> None:
    """Raises InvalidRequest."""
    if any(frequency < 1 for row in request.rows for frequency in row.terms.values()):
        raise InvalidRequest("a term occurs at least once", errors=["rows"])
    vectors = [row.vector for row in request.rows if row.vector is not None]
    if not vectors:
        return
    if request.embedder is None:
        raise InvalidRequest("vectors need the name of their embedder", errors=["embedder"])
    sizes = set(map(len, vectors))
    if len(sizes) > 1 or any(size % 4 or not size for size in sizes):
        raise InvalidRequest("vectors are float32 values, all of one length", errors=["rows"])
    if not np.isfinite(np.frombuffer(b"".join(vectors), dtype="<f4")).all():
        raise InvalidRequest("a vector's values are finite", errors=["rows"])
