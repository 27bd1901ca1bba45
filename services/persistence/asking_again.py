"""What is sealed anew while it is on its way into the index is asked for once more: what was read of it is passed over,
although the text is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.persistence.index_jobs import index_requests
from services.persistence.parts import Parts
from services.persistence.repositories import keeping, work


async def ask_again(driver: Any, user_id: str, message_ids: Sequence[str], conversation_id: str, parts: Parts) -> bool:
    """Jobs, in the caller's transaction, for those of the memories that an open job names; whether there are any.

    After the commit the caller wakes the outbox.
    """
    waiting = await work.awaiting_index(driver, user_id, message_ids)
    requests = index_requests(user_id, waiting, conversation_id, parts.new_id)
    return bool(await keeping.ask_to_index(driver, requests, parts.clock(), conversation_id, at_once=True))
