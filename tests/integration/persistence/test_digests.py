"""Digests: sealed by their memory's own key, put in force by the ledger's hand alone, gone with their memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select

from libs.shared.bus import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Stamp
from libs.shared.contracts.conversations import CHANGE_CONVERSATION, ChangeConversation
from libs.shared.contracts.digests import (
    BEGIN_DIGESTS,
    KEEP_DIGESTS,
    KEY,
    LIST_UNDIGESTED,
    READ_DIGESTS,
    READ_UNDIGESTED,
    SEAL_DIGESTS,
    BeginDigests,
    Digest,
    Generation,
    GenerationRef,
    KeepDigests,
    ListUndigested,
    ReadDigests,
    ReadUndigested,
    UndigestedMemory,
)
from libs.shared.contracts.keeping import REWRITE_MEMORY, RewriteMemory
from libs.shared.contracts.ledger import Change, ChangeKind, ChangeState
from libs.shared.contracts.memory import FORGET_MEMORY, MemoryRef
from libs.shared.errors import ChangeConflict, DigestsGone, InvalidRequest, ServiceError, SettingUnknown
from libs.shared.sealing import Unreadable, unseal
from services.persistence.digest_changes import DigestApplier
from services.persistence.handlers.digests import next_of
from services.persistence.repositories import digests as rows
from services.persistence.repositories.digests import SealedGeneration
from services.persistence.slot_file import KeyGone, SlotFile
from services.persistence.tables import DigestRow
from tests.support.persistence import START, Client, RunningPersistence, imported

RECIPE, EMBEDDER = "extractive@1", "mini@1"


@pytest_asyncio.fixture
async def night(broker: MemoryBroker, persistence: RunningPersistence) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.OPTIMIZER)
    yield bus
    await bus.drain(1)


async def begin(night: Bus, user_id: str, recipe: str = RECIPE) -> Generation:
    return await night.request(BEGIN_DIGESTS, BeginDigests(user_id=user_id, recipe=recipe))


async def waiting(night: Bus, user_id: str, generation: Generation) -> list[UndigestedMemory]:
    asked = ReadUndigested(user_id=user_id, generation_id=generation.generation_id)
    return list((await night.request(READ_UNDIGESTED, asked)).memories)


async def write(night: Bus, user_id: str, generation: Generation, memories: list[UndigestedMemory]) -> int:
    made = [
        Digest(
            message_id=one.message_id,
            version=one.version,
            sentences=(f"({one.text})",),
            vectors=b"\x01\x02",
            keys=b"tellings",
        )
        for one in memories
    ]
    request = KeepDigests(user_id=user_id, generation_id=generation.generation_id, digests=tuple(made))
    return (await night.request(KEEP_DIGESTS, request)).count


async def seal(night: Bus, user_id: str, generation: Generation) -> Generation:
    return await night.request(SEAL_DIGESTS, GenerationRef(user_id=user_id, generation_id=generation.generation_id))


def change(user_id: str, before: Any, after: Any, change_id: str = "c1") -> Change:
    return Change(
        change_id=change_id,
        sequence=1,
        kind=ChangeKind.DIGEST,
        key=KEY + user_id,
        before=before,
        after=after,
        reason="",
        state=ChangeState.PROPOSED,
        proposed=Stamp(actor="test", at=START),
        previous_hash="",
        hash="",
    )


def value(generation: Generation) -> dict[str, Any]:
    return {"generation": generation.generation_id, "commitment": generation.commitment}


async def put_in_force(
    persistence: RunningPersistence, user_id: str, generation: Generation, before: Any = None, change_id: str = "c1"
) -> Change:
    """As the ledger does."""
    made = change(user_id, before, value(generation), change_id)
    async with persistence.parts.database.transaction() as session:
        await DigestApplier().apply(session, made, START)
    return made


async def roll_back(persistence: RunningPersistence, made: Change, setter: str | None) -> None:
    async with persistence.parts.database.transaction() as session:
        await DigestApplier().restore(session, made, setter, START)


async def one_night(night: Bus, persistence: RunningPersistence, user_id: str, before: Any = None) -> Generation:
    generation = await begin(night, user_id)
    await write(night, user_id, generation, await waiting(night, user_id, generation))
    sealed = await seal(night, user_id, generation)
    await put_in_force(persistence, user_id, sealed, before)
    return sealed


async def told(client: Client, user_id: str, *ids: str, generation: Generation | None = None) -> dict[str, str]:
    asked = ReadDigests(
        user_id=user_id, message_ids=ids, generation_id=generation.generation_id if generation else None
    )
    found = await client.cognition.request(READ_DIGESTS, asked)
    return {one.message_id: " ".join(one.sentences) for one in found.digests}


async def said(client: Client, user_id: str, *texts: str) -> list[str]:
    kept = await client.import_turns(user_id, *(imported(text, text, minute=n) for n, text in enumerate(texts)))
    return [item.id for item in kept.items]


async def sealed_rows(persistence: RunningPersistence) -> list[tuple[str, int, bytes]]:
    async with persistence.parts.database.transaction() as session:
        found = await session.execute(select(DigestRow.message_id, DigestRow.version, DigestRow.content))
        return [(row[0], row[1], row[2]) for row in found]


async def test_a_digest_is_read_once_the_ledger_put_it_in_force(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    user_id = await client.user()
    ids = await said(client, user_id, "I live in Paris", "I like tea")
    generation = await begin(night, user_id)
    assert await write(night, user_id, generation, await waiting(night, user_id, generation)) == 2
    sealed = await seal(night, user_id, generation)
    assert await told(client, user_id, *ids) == {}
    assert await told(client, user_id, *ids, generation=sealed) == {ids[0]: "(I live in Paris)", ids[1]: "(I like tea)"}
    await put_in_force(persistence, user_id, sealed)
    assert await told(client, user_id, *ids) == {ids[0]: "(I live in Paris)", ids[1]: "(I like tea)"}


async def test_rolling_back_restores_the_former_generation_or_none(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    user_id = await client.user()
    first = await said(client, user_id, "I live in Paris")
    one = await one_night(night, persistence, user_id)
    opening = change(user_id, None, value(one))
    second = await said(client, user_id, "I like tea")
    another = await begin(night, user_id)
    assert [memory.text for memory in await waiting(night, user_id, another)] == ["I like tea"]
    await write(night, user_id, another, await waiting(night, user_id, another))
    another = await seal(night, user_id, another)
    made = await put_in_force(persistence, user_id, another, value(one), "c2")
    assert set(await told(client, user_id, *first, *second)) == {*first, *second}
    async with persistence.parts.database.transaction() as session:
        assert await DigestApplier().held(session, KEY + user_id) == (value(another), "c2")
    await roll_back(persistence, made, "c1")
    assert set(await told(client, user_id, *first, *second)) == set(first)
    async with persistence.parts.database.transaction() as session:
        assert await DigestApplier().held(session, KEY + user_id) == (value(one), "c1")
    await roll_back(persistence, opening, None)
    assert await told(client, user_id, *first, *second) == {}


async def test_what_goes_wrong_in_the_transaction_leaves_the_former_in_force(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    user_id = await client.user()
    ids = await said(client, user_id, "I live in Paris")
    await one_night(night, persistence, user_id)
    gone = change(user_id, None, {"generation": "gone", "commitment": "0" * 64})
    with pytest.raises(ChangeConflict):
        async with persistence.parts.database.transaction() as session:
            await DigestApplier().apply(session, gone, START)
    assert set(await told(client, user_id, *ids)) == set(ids)


async def test_only_what_was_committed_to_comes_into_force(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    user_id = await client.user()
    await said(client, user_id, "I live in Paris")
    generation = await begin(night, user_id)
    await write(night, user_id, generation, await waiting(night, user_id, generation))
    sealed = await seal(night, user_id, generation)
    forged = sealed.model_copy(update={"commitment": "f" * 64})
    with pytest.raises(ChangeConflict):
        await put_in_force(persistence, user_id, forged)
    with pytest.raises(DigestsGone):
        await waiting(night, user_id, sealed)
    assert (await seal(night, user_id, sealed)).commitment == sealed.commitment


async def test_a_night_that_was_cut_short_goes_on_where_it_was(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    user_id = await client.user()
    await said(client, user_id, "I live in Paris", "I like tea")
    generation = await begin(night, user_id)
    await write(night, user_id, generation, (await waiting(night, user_id, generation))[:1])
    await persistence.stop()
    await persistence.start()
    again = await begin(night, user_id)
    assert (again.generation_id, again.digests) == (generation.generation_id, 1)
    assert [memory.text for memory in await waiting(night, user_id, again)] == ["I like tea"]


async def test_who_waits_for_a_night_is_known(client: Client, persistence: RunningPersistence, night: Bus) -> None:
    user_id, other = await client.user(), await client.user()
    await said(client, user_id, "I live in Paris", "I like tea")
    await client.import_turns(other, imported("x", "I like tea", within="other"))
    listed = await night.request(LIST_UNDIGESTED, ListUndigested(recipe=RECIPE))
    assert listed.waiting == {user_id: 2, other: 1}
    await one_night(night, persistence, user_id)
    listed = await night.request(LIST_UNDIGESTED, ListUndigested(recipe=RECIPE))
    assert listed.waiting == {other: 1}


async def test_nobody_reads_anothers_digests(client: Client, persistence: RunningPersistence, night: Bus) -> None:
    user_id, other = await client.user(), await client.user()
    ids = await said(client, user_id, "I live in Paris")
    generation = await one_night(night, persistence, user_id)
    assert await told(client, other, *ids) == {}
    with pytest.raises(DigestsGone):
        await told(client, other, *ids, generation=generation)


async def test_a_conversation_that_is_not_remembered_is_not_digested(client: Client, night: Bus) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("x", "I live in Paris"))
    silent = ChangeConversation(user_id=user_id, conversation_id=kept.items[0].conversation_id, remembered=False)
    await client.bus.request(CHANGE_CONVERSATION, silent)
    assert await waiting(night, user_id, await begin(night, user_id)) == []


# ---------------------------------------------------------------- forgetting


async def check_a_forgotten_memory_takes_its_digest(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    """Its row is gone, and what was sealed opens with no key that is left."""
    user_id = await client.user()
    ids = await said(client, user_id, "I live in Paris", "I like tea")
    await one_night(night, persistence, user_id)
    before = {row[0]: row for row in await sealed_rows(persistence)}
    await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=ids[0]))
    assert set(await told(client, user_id, *ids)) == {ids[1]}
    assert {row[0] for row in await sealed_rows(persistence)} == {ids[1]}
    ring = persistence.parts.keys
    user = ring.cached(user_id)
    assert user is not None
    with pytest.raises((KeyGone, Unreadable)):
        unseal(ring.data_key(user, before[ids[0]][1]), before[ids[0]][2])
    assert unseal(ring.data_key(user, before[ids[1]][1]), before[ids[1]][2])
    assert await sealed_rows(persistence) == [before[ids[1]]], "what tells the same says nothing of the forgotten one"


async def check_what_was_said_with_a_forgotten_memory_waits_anew(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    """Two messages of one turn are sealed by one key: the digest of the one that stays goes too, and is made again."""
    user_id = await client.user()
    turn, position = await client.say(user_id, "c", "I live in Paris", "Paris is fine")
    await persistence.parts.watermark.wait_for(position)
    one = await one_night(night, persistence, user_id)
    gone, left = (message.message_id for message in turn.messages)
    await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=gone))
    assert await sealed_rows(persistence) == []
    assert await told(client, user_id, gone, left) == {}
    await one_night(night, persistence, user_id, value(one))
    assert await told(client, user_id, gone, left) == {left: "(Paris is fine)"}


async def check_an_edited_memory_has_no_digest_of_what_it_said(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    user_id = await client.user()
    ids = await said(client, user_id, "I live in Paris")
    one = await one_night(night, persistence, user_id)
    edited = RewriteMemory(user_id=user_id, id=ids[0], text="I live in Lyon")
    await client.cognition.request(REWRITE_MEMORY, edited)
    assert await sealed_rows(persistence) == []
    await one_night(night, persistence, user_id, value(one))
    assert await told(client, user_id, *ids) == {ids[0]: "(I live in Lyon)"}


async def check_what_was_edited_while_the_night_worked_is_passed_over(
    client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    user_id = await client.user()
    ids = await said(client, user_id, "I live in Paris")
    generation = await begin(night, user_id)
    read = await waiting(night, user_id, generation)
    edited = RewriteMemory(user_id=user_id, id=ids[0], text="I live in Lyon")
    await client.cognition.request(REWRITE_MEMORY, edited)
    assert await write(night, user_id, generation, read) == 0
    assert [memory.text for memory in await waiting(night, user_id, generation)] == ["I live in Lyon"]


Check = Callable[[Client, RunningPersistence, Bus], Awaitable[None]]
CHECKS: list[Check] = [
    check_a_forgotten_memory_takes_its_digest,
    check_what_was_said_with_a_forgotten_memory_waits_anew,
    check_an_edited_memory_has_no_digest_of_what_it_said,
    check_what_was_edited_while_the_night_worked_is_passed_over,
]


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__.removeprefix("check_") for check in CHECKS])
async def test_forgetting_reaches_digests(
    check: Check, client: Client, persistence: RunningPersistence, night: Bus
) -> None:
    await check(client, persistence, night)


async def leave_the_digests(*_: Any) -> None:
    """In place of ``remove_of_turns``."""


async def hold_everything(_driver: Any, _user_id: str, versions: dict[str, int]) -> set[str]:
    """In place of ``hold``."""
    return set(versions)


def keep_the_keys(patch: pytest.MonkeyPatch) -> None:
    async def destroy(*_: Any) -> int:
        return 0

    patch.setattr(SlotFile, "destroy", destroy)


def hold_nothing_of_a_changed_text(patch: pytest.MonkeyPatch) -> None:
    """Two things uphold it: the version that is held, and the key that is gone."""
    patch.setattr(rows, "hold", hold_everything)
    keep_the_keys(patch)


MUTATIONS: list[tuple[Callable[[pytest.MonkeyPatch], None], Check]] = [
    (keep_the_keys, CHECKS[0]),
    (lambda patch: patch.setattr(rows, "remove_of_turns", leave_the_digests), CHECKS[1]),
    (lambda patch: patch.setattr(rows, "remove_of_turns", leave_the_digests), CHECKS[2]),
    (hold_nothing_of_a_changed_text, CHECKS[3]),
]


@pytest.mark.parametrize(("mutation", "check"), MUTATIONS, ids=[check.__name__ for _, check in MUTATIONS])
async def test_the_check_notices(
    mutation: Callable[[pytest.MonkeyPatch], None],
    check: Check,
    client: Client,
    persistence: RunningPersistence,
    night: Bus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        mutation(patched)
        with pytest.raises((AssertionError, pytest.fail.Exception, ServiceError)):
            await check(client, persistence, night)


# ---------------------------------------------------------------- rules


def generation(number: int, *, base: int = 1, in_force: bool = False, commitment: str | None = "c") -> SealedGeneration:
    return SealedGeneration(f"g{number}", number, base, RECIPE, EMBEDDER, commitment, in_force)


def test_the_next_generation_adds_to_what_is_in_force() -> None:
    chosen, superfluous = next_of([generation(1, in_force=True)], RECIPE, EMBEDDER, "new")
    assert (chosen.number, chosen.base, superfluous) == (2, 1, [])


def test_another_recipe_or_embedder_makes_all_anew() -> None:
    for recipe, embedder in (("other@1", EMBEDDER), (RECIPE, "other@1")):
        chosen, _ = next_of([generation(3, in_force=True)], recipe, embedder, "new")
        assert (chosen.number, chosen.base) == (4, 4)


def test_what_was_never_put_in_force_or_was_rolled_back_makes_room() -> None:
    known = [generation(1, in_force=True), generation(2), generation(3, commitment=None)]
    chosen, superfluous = next_of(known, "other@1", EMBEDDER, "new")
    assert (chosen.number, superfluous) == (2, [2, 3])


def test_what_is_being_written_goes_on() -> None:
    known = [generation(1, in_force=True), generation(2, commitment=None)]
    assert next_of(known, RECIPE, EMBEDDER, "new") == (known[1], [])


def test_digests_are_put_in_force_for_a_user() -> None:
    applier = DigestApplier()
    with pytest.raises(SettingUnknown):
        applier.checked("recall_k", None)
    with pytest.raises(InvalidRequest):
        applier.checked(KEY + "u", {"generation": "g"})
    assert applier.checked(KEY + "u", None) is None
    held = {"generation": "g", "commitment": "0" * 64}
    assert applier.checked(KEY + "u", held) == held


@pytest.mark.parametrize("unfitting", [{"vectors": b"abc"}, {"keys": b"tellings"}])
async def test_vectors_and_keys_that_fit_no_sentence_are_refused(
    client: Client, night: Bus, unfitting: dict[str, bytes]
) -> None:
    user_id = await client.user()
    (message_id,) = await said(client, user_id, "I live in Paris")
    opened = await begin(night, user_id)
    wrong = Digest(message_id=message_id, version=1, sentences=("a", "b"), **unfitting)
    request = KeepDigests(user_id=user_id, generation_id=opened.generation_id, digests=(wrong,))
    with pytest.raises(InvalidRequest):
        await night.request(KEEP_DIGESTS, request)
