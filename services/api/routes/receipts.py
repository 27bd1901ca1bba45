"""``/api/v1/receipts``: what one's own forgettings took, signed."""

from __future__ import annotations

from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.forgetting import LIST_RECEIPTS, ListReceipts, Receipts
from services.api.access import Access, permit_memory
from services.api.pages import PageOf
from services.api.routing import CallerOf, Endpoint, PartsOf


async def list_receipts(parts: PartsOf, caller: CallerOf, page: PageOf) -> Receipts:
    """Newest first."""
    permit_memory(caller, MemoryMode.READ)
    return await parts.bus.request(
        LIST_RECEIPTS, ListReceipts(user_id=caller.user_id, limit=page.limit, cursor=page.cursor)
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/receipts",
        handler=list_receipts,
        access=Access.USER,
        options={"tags": ["memories"]},
    ),
)
