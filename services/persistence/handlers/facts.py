"""Finding and keeping facts: sealed, found by what they speak of, each with the memories that it was drawn from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from libs.shared.contracts.keeping import FactChange, Facts, FindFacts, KeepFacts
from libs.shared.contracts.memory import Fact
from libs.shared.sealing import Unreadable, seal
from services.persistence.fact_keys import KeyedFact, fact_key
from services.persistence.opening import open_fact, open_many
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, facts, removal
from services.persistence.repositories.facts import NewFact
from services.persistence.retiring import destroy_retired, retire
from services.persistence.sealing import KeyRing, UserKeys
from services.persistence.slot_file import KeyGone
from services.persistence.supersession import ends_without
from services.persistence.undisturbed import fresh_keys, settle, undisturbed

MOST_FACTS = 20_000
"""Of one user."""


async def find_facts(request: FindFacts, parts: Parts) -> Facts:
    """All facts under these keys, in order of when they began to hold."""
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
        wanted = [fact_key(user, key.subject, key.attribute) for key in request.keys]
        ids = await parts.fact_keys.find(
            request.user_id, wanted, lambda: _all_keyed(driver, parts.keys, request.user_id, user)
        )
        rows = await facts.by_id(driver, request.user_id, ids) if ids else []
    opened = await open_many(rows, lambda row: open_fact(parts.keys, user, row, with_times=True))
    return Facts(facts=tuple(fact for fact in opened if fact is not None))


async def _all_keyed(driver: Any, keys: KeyRing, user_id: str, user: UserKeys) -> list[KeyedFact]:
    rows = await facts.all_of(driver, user_id)
    keyed = await open_many(rows, lambda row: _keyed(keys, user, *row))
    return [one for one in keyed if one is not None]


def _keyed(keys: KeyRing, user: UserKeys, fact_id: str, slot: int, sealed: bytes) -> KeyedFact | None:
    try:
        said = json.loads(keys.open_text(user, slot, sealed))
    except (KeyGone, Unreadable):
        return None
    return fact_key(user, said["subject"], said["attribute"]), fact_id


def sealed_fact(key: bytes, fact: Fact) -> bytes:
    """What a row holds of it."""
    said = fact.model_dump(mode="json", include={"subject", "attribute", "value", "text", "extractor"})
    return seal(key, json.dumps(said).encode())


@dataclass(frozen=True)
class Accepted:
    """What of a request is kept."""

    facts: Sequence[Fact]
    changes: Sequence[FactChange]


def accept(request: KeepFacts, known: set[str], sources: set[str]) -> Accepted:
    """New facts with the sources that exist, and changes; an end by a fact that doesn't exist (any more) is none."""
    drawn: dict[str, Fact] = {}
    for fact in request.facts:
        left = tuple(dict.fromkeys(source for source in fact.sources if source in sources))
        if left and fact.id not in known:
            drawn.setdefault(fact.id, fact.model_copy(update={"sources": left}))
    there = known | drawn.keys()
    return Accepted(
        facts=[_open_unless(fact, there) for fact in drawn.values()],
        changes=[
            change.model_copy(update={"sources": tuple(source for source in change.sources if source in sources)})
            for change in request.changes
            if change.id in there and (change.superseded_by is None or change.superseded_by in there)
        ],
    )


def _open_unless(fact: Fact, there: Collection[str]) -> Fact:
    """The fact, still holding where what ended it doesn't exist."""
    if fact.superseded_by is None or fact.superseded_by in there:
        return fact
    return fact.model_copy(update={"superseded_by": None, "valid_to": None})


async def keep_facts(request: KeepFacts, parts: Parts) -> Facts:
    """New facts, and ends of known ones, in one transaction; those that are new now."""
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, request.user_id)
    async with undisturbed(parts, request.user_id) as driver:
        accepted = await _accept(driver, request)
        keys = await fresh_keys(parts, user, len(accepted.facts))
        new = [_new(fact, slot, key) for fact, (slot, key) in zip(accepted.facts, keys, strict=True)]
        await facts.keep(driver, request.user_id, new, parts.clock())
        await facts.link(driver, request.user_id, _links(accepted))
        await facts.change(driver, request.user_id, accepted.changes)
        note = await _remove_surplus(driver, request.user_id) if new else None
    settle(parts, (fact.slot for fact in new))
    await _tell(request.user_id, user, accepted, note, parts)
    return Facts(facts=tuple(accepted.facts))


async def _accept(driver: Any, request: KeepFacts) -> Accepted:
    await facts.hold_user(driver, request.user_id)
    given: list[Fact | FactChange] = [*request.facts, *request.changes]
    versions = {source: request.versions.get(source) for one in given for source in one.sources}
    sources = await facts.hold_sources(driver, request.user_id, versions)
    named = {one.id for one in given} | {one.superseded_by for one in given if one.superseded_by is not None}
    known = await facts.known(driver, request.user_id, named)
    return accept(request, known, sources)


def _new(fact: Fact, slot: int, key: bytes) -> NewFact:
    return NewFact(fact.id, slot, sealed_fact(key, fact), fact.valid_from, fact.valid_to, fact.superseded_by)


def _links(accepted: Accepted) -> list[tuple[str, str]]:
    given: list[Fact | FactChange] = [*accepted.facts, *accepted.changes]
    return [(one.id, source) for one in given for source in one.sources]


async def _remove_surplus(driver: Any, user_id: str) -> int | None:
    surplus = await facts.beyond(driver, user_id, MOST_FACTS)
    if not surplus:
        return None
    ends = ends_without(await removal.ends_around(driver, user_id, surplus), surplus)
    slots = await removal.remove_facts(driver, user_id, surplus)
    await removal.change_ends(driver, user_id, ends)
    return await retire(driver, user_id, slots)


async def _tell(user_id: str, user: UserKeys, accepted: Accepted, note: int | None, parts: Parts) -> None:
    if note is None:
        keyed = [(fact_key(user, fact.subject, fact.attribute), fact.id) for fact in accepted.facts]
        parts.fact_keys.add(user_id, keyed)
    else:
        await destroy_retired(parts.database, parts.keys.slots, parts.unused_keys, note)
        parts.fact_keys.drop(user_id)
    if accepted.facts or accepted.changes:
        await parts.indexes.superseded(user_id)
