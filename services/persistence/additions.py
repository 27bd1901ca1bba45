"""What is added to an index: rows that cognition made, those of them that are the user's and aren't there yet."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from libs.shared.contracts.indexing import IndexRow
from services.persistence import segments
from services.persistence.repositories.segments import Owned
from services.persistence.sealing import UserKeys
from services.persistence.segments import TermRow, TermRows, VectorRows

MANY_ROWS = 32
"""From so many on, hashing their terms is worth a thread."""


@dataclass(frozen=True)
class Addition:
    """Rows that make memories searchable, and the jobs that end with them."""

    user_id: str
    embedder: str | None
    rows: Sequence[IndexRow]
    done_jobs: Sequence[str] = ()

    @property
    def dimensions(self) -> int | None:
        """Of the vectors; None where there are none."""
        return next((len(row.vector) // 4 for row in self.rows if row.vector is not None), None)


async def term_rows(addition: Addition, owned: Mapping[str, Owned], user: UserKeys) -> TermRows | None:
    """The rows whose terms aren't in the index yet, by keyed hashes; None where there are none."""
    fresh = [row for row in addition.rows if row.message_id in owned and not owned[row.message_id].has_terms]
    if not fresh:
        return None

    def made() -> TermRows:
        return segments.as_rows([_term_row(row, owned[row.message_id], user) for row in fresh])

    return await asyncio.to_thread(made) if len(fresh) > MANY_ROWS else made()


def _term_row(row: IndexRow, owned: Owned, user: UserKeys) -> TermRow:
    return TermRow(
        ordinal=owned.ordinal,
        conversation_id=owned.conversation_id,
        speaker=row.speaker,
        at=owned.at,
        words=row.words,
        traits=row.traits,
        importance=row.importance,
        terms={user.hash_term(term): count for term, count in row.terms.items()},
    )


def vector_rows(addition: Addition, owned: Mapping[str, Owned]) -> VectorRows | None:
    """The vectors that the memories don't have yet; None where there are none."""
    fresh = {
        owned[row.message_id].ordinal: row.vector
        for row in addition.rows
        if row.vector is not None and row.message_id in owned and not owned[row.message_id].has_vector
    }
    return segments.as_vectors(list(fresh), list(fresh.values())) if fresh else None


def without(terms: TermRows | None, gone: Collection[int]) -> TermRows | None:
    """The rows but those that were forgotten meanwhile."""
    if terms is None or not gone:
        return terms
    return segments.chosen_terms(terms, ~np.isin(terms.ordinals, np.array(sorted(gone))))
