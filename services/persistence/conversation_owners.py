"""Whose conversations were seen lately, so that a turn in a known conversation starts without a query."""

from __future__ import annotations

from collections import OrderedDict

_CAPACITY = 4096


class ConversationOwners:
    """Conversation → user, for those that exist; the least recently used go first."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._owners: OrderedDict[str, str] = OrderedDict()

    def get(self, conversation_id: str) -> str | None:
        if (found := self._owners.get(conversation_id)) is not None:
            self._owners.move_to_end(conversation_id)
        return found

    def put(self, conversation_id: str, user_id: str) -> None:
        self._owners[conversation_id] = user_id
        if len(self._owners) > self._capacity:
            self._owners.popitem(last=False)

    def drop(self, conversation_id: str) -> None:
        self._owners.pop(conversation_id, None)

    def drop_user(self, user_id: str) -> None:
        for conversation_id in [c for c, owner in self._owners.items() if owner == user_id]:
            del self._owners[conversation_id]
