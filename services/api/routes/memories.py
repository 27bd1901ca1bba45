"""``GET /api/v1/memories``: searching one's own memory."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.memory import SEARCH_MEMORY, MemoryItems, SearchMemory
from services.api.access import Access, permit_memory
from services.api.pages import last_kept
from services.api.routing import CallerOf, Endpoint, PartsOf


async def search_memories(
    parts: PartsOf,
    caller: CallerOf,
    q: Annotated[str, Query(min_length=1, max_length=8192, description="The question, in your words")],
    k: Annotated[int, Query(ge=1, le=100, description="Most memories")] = 10,
    explain: Annotated[bool, Query(description="Tells the parts of every score")] = False,
) -> MemoryItems:
    """Best first, with scores."""
    permit_memory(caller, MemoryMode.READ)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(
        SEARCH_MEMORY,
        SearchMemory(user_id=caller.user_id, query=q, k=k, explain=explain, read_after=read_after),
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/memories",
        handler=search_memories,
        access=Access.USER,
        options={"tags": ["memories"]},
    ),
)
