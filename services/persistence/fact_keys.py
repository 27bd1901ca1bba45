"""Which facts speak of the same thing: per user, held in memory, by a keyed hash of subject and attribute.

What a fact says lies sealed, so that the database can't find it by its words. The map is read once and follows every
change; what is forgotten drops it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from hashlib import blake2b

from services.persistence.sealing import UserKeys

_USERS = 64
_HASH_BYTES = 16

KeyedFact = tuple[bytes, str]
"""The hash of its key, and a fact's id."""


def fact_key(user: UserKeys, subject: str, attribute: str) -> bytes:
    """Equal for two facts that speak of the same thing, however they are written."""
    told = "\0".join((subject.casefold().strip(), attribute.casefold().strip()))
    return blake2b(told.encode(), key=user.term_key, person=b"mongars fact", digest_size=_HASH_BYTES).digest()


class FactKeys:
    """Key → facts of the users that were asked of last."""

    def __init__(self, capacity: int = _USERS) -> None:
        self._capacity = capacity
        self._users: OrderedDict[str, dict[bytes, list[str]]] = OrderedDict()
        self._loading = asyncio.Lock()
        self._changes: dict[str, int] = {}
        """Of users that are being loaded: a map that was read before a change is not kept."""

    async def find(
        self, user_id: str, keys: Iterable[bytes], load: Callable[[], Awaitable[list[KeyedFact]]]
    ) -> list[str]:
        """The facts under any of the keys; ``load`` reads all of the user's once."""
        facts = self._users.get(user_id)
        if facts is None:
            async with self._loading:
                facts = self._users.get(user_id)
                if facts is None:
                    facts = await self._load(user_id, load)
        else:
            self._users.move_to_end(user_id)
        return [fact_id for key in dict.fromkeys(keys) for fact_id in facts.get(key, ())]

    async def _load(self, user_id: str, load: Callable[[], Awaitable[list[KeyedFact]]]) -> dict[bytes, list[str]]:
        self._changes[user_id] = 0
        try:
            facts = _grouped(await load())
            if not self._changes[user_id]:
                self._users[user_id] = facts
                while len(self._users) > self._capacity:
                    self._users.popitem(last=False)
        finally:
            del self._changes[user_id]
        return facts

    def add(self, user_id: str, facts: Iterable[KeyedFact]) -> None:
        """New facts were committed."""
        self._note_change(user_id)
        if (known := self._users.get(user_id)) is not None:
            for key, fact_id in facts:
                known.setdefault(key, []).append(fact_id)

    def drop(self, user_id: str) -> None:
        """Facts of the user were removed or rewritten."""
        self._note_change(user_id)
        self._users.pop(user_id, None)

    def _note_change(self, user_id: str) -> None:
        if user_id in self._changes:
            self._changes[user_id] += 1


def _grouped(facts: Iterable[KeyedFact]) -> dict[bytes, list[str]]:
    grouped: dict[bytes, list[str]] = {}
    for key, fact_id in facts:
        grouped.setdefault(key, []).append(fact_id)
    return grouped
