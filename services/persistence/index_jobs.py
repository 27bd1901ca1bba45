"""The jobs that make memories searchable, each of a bounded number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from libs.shared.contracts.indexing import IndexRequested

MEMORIES_A_JOB = 64


def index_requests(
    user_id: str, message_ids: Sequence[str], conversation_id: str | None, new_id: Callable[[], str]
) -> list[IndexRequested]:
    """What the jobs say; ``conversation_id`` is None where the memories are of several."""
    return [
        IndexRequested(
            user_id=user_id,
            conversation_id=conversation_id,
            message_ids=tuple(message_ids[start : start + MEMORIES_A_JOB]),
            job_id=new_id(),
        )
        for start in range(0, len(message_ids), MEMORIES_A_JOB)
    ]
