"""Facts drawn from texts are held against what is known of the same things, and kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

from libs.shared.bus.base import Bus
from libs.shared.contracts.keeping import FIND_FACTS, KEEP_FACTS, FactChange, FactKey, FindFacts, KeepFacts
from libs.shared.contracts.memory import Fact
from services.cognition.extraction.attributes import spoken_of, stored
from services.cognition.extraction.drawn import Drawn
from services.cognition.extraction.rules import draw
from services.cognition.extraction.supersession import reconcile
from services.cognition.measuring import measured
from services.cognition.searchable import Text

MOST_KEYS = 400
"""Subjects with attributes that are looked up at a time, their negations beside them."""
MOST_KEPT = 2000

Key = tuple[str, str]


def fact_id(drawn: Drawn) -> str:
    """The same statement from the same memory is the same fact, however often it is drawn. Pure.

    Nothing of what it tells goes into it: ids lie open, and what was forgotten must not be guessed from one.
    """
    told = f"{drawn.source}\x1f{drawn.extractor}\x1f{drawn.mark}".encode()
    return hashlib.blake2b(told, digest_size=16, person=b"mongars fact").hexdigest()


def as_read(
    user_id: str, facts: Sequence[Fact], changes: Sequence[FactChange], versions: Mapping[str, int | None]
) -> KeepFacts:
    """What is to be kept, with the versions in which its sources were read. Pure."""
    given: list[Fact | FactChange] = [*facts, *changes]
    sources = {source for one in given for source in one.sources}
    read = {source: version for source, version in versions.items() if source in sources}
    return KeepFacts(user_id=user_id, facts=tuple(facts), changes=tuple(changes), versions=read)


def _drawn(texts: Sequence[Text]) -> list[Drawn]:
    return [drawn for text in texts for drawn in draw(text)]


class FactKeeper:
    """Keeps facts; one batch of a user at a time, since each is judged by what the one before has left."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._of_user: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def draw(self, user_id: str, texts: Sequence[Text]) -> tuple[Fact, ...]:
        """By rules. Gives the new facts; the same texts again give none."""
        found = await asyncio.to_thread(_drawn, texts)
        return await self.keep(user_id, found) if found else ()

    async def keep(self, user_id: str, drawn: Iterable[Drawn]) -> tuple[Fact, ...]:
        """Holds them against what is known, and keeps what is new."""
        by_key: defaultdict[Key, list[Drawn]] = defaultdict(list)
        for one in drawn:
            by_key[one.subject, one.attribute].append(one)
        keys = list(by_key)
        kept: list[Fact] = []
        async with self._of_user.setdefault(user_id, asyncio.Lock()):
            for start in range(0, len(keys), MOST_KEYS):
                chosen = {key: by_key[key] for key in keys[start : start + MOST_KEYS]}
                kept += await self._keep(user_id, chosen)
        return tuple(kept)

    async def _keep(self, user_id: str, chosen: dict[Key, list[Drawn]]) -> list[Fact]:
        known = await self._known(user_id, chosen)
        versions = {one.source: one.version for drawn in chosen.values() for one in drawn}
        facts: list[Fact] = []
        changes: list[FactChange] = []
        for key, drawn in chosen.items():
            new, changed = reconcile(drawn, known[key], fact_id)
            facts += new
            changes += changed
        for start in range(0, max(len(facts), len(changes)), MOST_KEPT):
            portion = slice(start, start + MOST_KEPT)
            kept = as_read(user_id, facts[portion], changes[portion], versions)
            with measured("upsert_memory"):
                await self._bus.request(KEEP_FACTS, kept)
        return facts

    async def _known(self, user_id: str, chosen: Iterable[Key]) -> defaultdict[Key, list[Fact]]:
        keys = tuple(
            FactKey(subject=subject, attribute=stored(attribute, ended=ended))
            for subject, attribute in chosen
            for ended in (False, True)
        )
        known: defaultdict[Key, list[Fact]] = defaultdict(list)
        for fact in (await self._bus.request(FIND_FACTS, FindFacts(user_id=user_id, keys=keys))).facts:
            known[fact.subject, spoken_of(fact.attribute)[0]].append(fact)
        return known
