"""What was trained on what is gone is tainted: in the same transaction, named by the receipt, and for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

import pytest

from libs.shared.bus import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.accounts import DELETE_USER, UserRef
from libs.shared.contracts.base import Principal
from libs.shared.contracts.conversations import (
    CHANGE_CONVERSATION,
    DELETE_CONVERSATION,
    ChangeConversation,
    ConversationRef,
)
from libs.shared.contracts.forgetting import Receipt, Removed
from libs.shared.contracts.keeping import REWRITE_MEMORY, RewriteMemory
from libs.shared.contracts.material import (
    LIST_TRAINED,
    Exchange,
    ListTrained,
    TrainedAdapter,
)
from libs.shared.contracts.memory import FORGET_EVERYTHING, FORGET_MEMORY, MemoryRef, UserMemory
from libs.shared.contracts.ratings import (
    CHANGE_TRAINING_CHOICES,
    SET_CONSENT,
    ChangeTrainingChoices,
    SetConsent,
)
from libs.shared.errors import AlreadyRecorded, DatasetNotFound, MaterialWithdrawn, ServiceError, Unavailable
from libs.shared.receipts import verify
from services.persistence import forgetting, journal
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.repositories import trained
from tests.integration.persistence.test_forgetting import tables_that_name
from tests.support.persistence import Client, RunningPersistence, new_id
from tests.support.trained import BOTH, OURS, THEIRS, Scene, allow, choose


@pytest.fixture
async def trainer(persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.TRAINER)
    yield bus
    await bus.drain(1)


@pytest.fixture
async def scene(client: Client, persistence: RunningPersistence, trainer: Bus) -> Scene:
    return await Scene(client, persistence, trainer).open()


async def forget_the_question(scene: Scene) -> tuple[str, ...] | None:
    ref = MemoryRef(user_id=scene.ana, id=scene.turn.messages[0].message_id)
    return (await scene.client.bus.request(FORGET_MEMORY, ref)).tainted_adapters


async def forget_the_answer(scene: Scene) -> tuple[str, ...] | None:
    ref = MemoryRef(user_id=scene.ana, id=scene.turn.messages[1].message_id)
    return (await scene.client.bus.request(FORGET_MEMORY, ref)).tainted_adapters


async def forget_the_conversation(scene: Scene) -> tuple[str, ...] | None:
    ref = ConversationRef(user_id=scene.ana, conversation_id=scene.where)
    return (await scene.client.bus.request(DELETE_CONVERSATION, ref)).tainted_adapters


async def forget_everything(scene: Scene) -> tuple[str, ...] | None:
    return (await scene.client.bus.request(FORGET_EVERYTHING, UserMemory(user_id=scene.ana))).tainted_adapters


async def remove_the_account(scene: Scene) -> tuple[str, ...] | None:
    return (await scene.client.bus.request(DELETE_USER, UserRef(user_id=scene.ana))).tainted_adapters


async def withdraw(scene: Scene) -> tuple[str, ...] | None:
    request = SetConsent(user_id=scene.ana, conversation_id=scene.where, allowed=False)
    return (await scene.client.bus.request(SET_CONSENT, request)).tainted_adapters


async def switch_the_default_off(scene: Scene) -> tuple[str, ...] | None:
    request = ChangeTrainingChoices(user_id=scene.ana, future=False)
    return (await scene.client.bus.request(CHANGE_TRAINING_CHOICES, request)).tainted_adapters


async def no_longer_remember(scene: Scene) -> tuple[str, ...] | None:
    change = ChangeConversation(user_id=scene.ana, conversation_id=scene.where, remembered=False)
    await scene.client.bus.request(CHANGE_CONVERSATION, change)
    return None


async def edit(scene: Scene) -> tuple[str, ...] | None:
    changed = RewriteMemory(user_id=scene.ana, id=scene.turn.messages[0].message_id, text="which computer?")
    await scene.client.cognition.request(REWRITE_MEMORY, changed)
    return None


Way = Callable[[Scene], Awaitable[tuple[str, ...] | None]]
WAYS: dict[Way, tuple[str, int]] = {
    forget_the_question: ("forgotten", 1),
    forget_the_answer: ("forgotten", 1),
    forget_the_conversation: ("forgotten", 2),
    forget_everything: ("forgotten", 2),
    remove_the_account: ("forgotten", 2),
    withdraw: ("withdrawn", 2),
    switch_the_default_off: ("withdrawn", 2),
    no_longer_remember: ("withdrawn", 2),
    edit: ("edited", 1),
}
"""What taints, with the cause that is noted and the exchanges that it marks."""


async def check_what_is_gone_taints(scene: Scene, way: Way) -> None:
    assert await scene.tainted() == {}
    told = await way(scene)
    assert await scene.tainted() == {OURS: [WAYS[way]], BOTH: [WAYS[way]]}
    if told is not None:
        assert scene.told(told) == (OURS, BOTH)


async def check_what_is_gone_is_recorded_in_no_dataset(scene: Scene, read: list[Exchange], way: Way) -> None:
    """``read`` before it was gone."""
    with pytest.raises(MaterialWithdrawn) as refused:
        await scene.dataset("late", read)
    gone = set(refused.value.data["turn_ids"])
    assert gone <= {one.turn_id for one in read if one.owner == scene.ana}
    assert len(gone) == WAYS[way][1]
    await scene.dataset("late", [one for one in read if one.turn_id not in gone])


async def test_what_is_gone_taints_and_is_recorded_no_more(
    client: Client, persistence: RunningPersistence, trainer: Bus
) -> None:
    scenes: list[Scene] = []
    for number, way in enumerate(WAYS):
        scene = await Scene(client, persistence, trainer, tag=f"s{number}").open()
        read = await scene.material()
        await check_what_is_gone_taints(scene, way)
        await check_what_is_gone_is_recorded_in_no_dataset(scene, read, way)
        async with asyncio.timeout(60):
            assert scene.told((await scene.heard.get()).adapters) == (OURS, BOTH)
        scenes.append(scene)
    assert set(await scenes[0].standing(tainted=True)) == {OURS, BOTH}
    await persistence.stop()
    await persistence.start()
    for scene, way in zip(scenes, WAYS, strict=True):
        assert await scene.tainted() == {OURS: [WAYS[way]], BOTH: [WAYS[way]]}


async def test_the_check_notices_that_nothing_is_tainted(
    client: Client, persistence: RunningPersistence, trainer: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(trained, "taint", nothing)
    for number, way in enumerate((forget_the_question, forget_everything, withdraw)):
        scene = await Scene(client, persistence, trainer, tag=f"s{number}").open()
        with pytest.raises(AssertionError):
            await check_what_is_gone_taints(scene, way)


async def test_the_receipt_that_names_them_is_signed(scene: Scene) -> None:
    ref = ConversationRef(user_id=scene.ana, conversation_id=scene.where)
    receipt = await scene.client.bus.request(DELETE_CONVERSATION, ref)
    assert scene.told(receipt.tainted_adapters) == (OURS, BOTH)
    assert verify(receipt)
    assert not verify(receipt.model_copy(update={"tainted_adapters": receipt.tainted_adapters[:1]}))
    note = await scene.client.note(scene.ana, "nothing was trained on this")
    other = await scene.client.bus.request(FORGET_MEMORY, MemoryRef(user_id=scene.ana, id=note.id))
    assert "tainted_adapters" not in other.model_dump_json()
    assert verify(other)


async def test_what_was_withdrawn_before_is_named_when_it_is_forgotten(scene: Scene) -> None:
    await withdraw(scene)
    assert scene.told(await forget_the_conversation(scene) or ()) == (OURS, BOTH)
    assert await scene.tainted() == {OURS: [("withdrawn", 2)], BOTH: [("withdrawn", 2)]}


async def test_what_is_allowed_again_stays_tainted_where_it_was(scene: Scene) -> None:
    await withdraw(scene)
    await allow(scene.client, scene.ana, scene.where)
    assert set(await scene.tainted()) == {OURS, BOTH}
    fresh = await scene.material()
    assert len(fresh) == 3
    await scene.dataset("anew", fresh)
    assert not (await scene.adapter("retrained", "anew")).tainted


async def test_nothing_of_what_is_forgotten_is_named_by_what_was_trained_on_it(scene: Scene) -> None:
    ids = (scene.turn.turn_id, *(message.message_id for message in scene.turn.messages))
    await forget_the_conversation(scene)
    assert await tables_that_name(scene.persistence, *ids) == set()
    await remove_the_account(scene)
    assert await tables_that_name(scene.persistence, scene.ana) == set()


async def test_a_forgetting_that_was_cut_short_taints_and_tells(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut(*_: object) -> Receipt:
        raise Unavailable("the power went")

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "_destroy_and_tell", cut)
        with pytest.raises(ServiceError):
            await forget_the_conversation(scene)
    assert set(await scene.tainted()) == {OURS, BOTH}
    await scene.persistence.stop()
    await scene.persistence.start()
    async with scene.persistence.parts.database.plainly() as driver:
        (receipt,) = await forgetting_rows.receipts(driver, scene.ana, 10, None)
    assert scene.told(receipt.tainted_adapters) == (OURS, BOTH)


async def test_a_forgetting_that_is_repeated_after_a_restore_taints(scene: Scene) -> None:
    told = Receipt(
        receipt_id=new_id(),
        scope="conversation",
        subject_id=scene.where,
        at=scene.persistence.parts.clock(),
        removed=Removed(messages=4),
        key="",
        signature="",
    )
    await forgetting.replay(journal.Entry(user_id=scene.ana, receipt=told), scene.persistence.parts)
    assert await scene.tainted() == {OURS: [("forgotten", 2)], BOTH: [("forgotten", 2)]}


# ---------------------------------------------------------------- recording


async def someone_waits(scene: Scene) -> bool:
    """For a lock that another transaction holds."""
    async with scene.persistence.parts.database.plainly() as driver:
        return bool(
            await driver.fetchval("""
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity AS a USING (pid)
  WHERE NOT granted AND a.datname = current_database())
""")
        )


async def check_a_withdrawal_beside_a_record_taints_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real, read = trained.recordable, await scene.material()
    withdrawals: list[asyncio.Task[object]] = []

    async def recordable(driver: Any, versions: Mapping[str, int]) -> list[trained.Turn]:
        found = await real(driver, versions)
        withdrawals.append(asyncio.create_task(_as_object(withdraw(scene))))
        async with asyncio.timeout(60):
            while not (withdrawals[0].done() or await someone_waits(scene)):  # noqa: ASYNC110 - the database knows
                await asyncio.sleep(0.01)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(trained, "recordable", recordable)
        await scene.dataset("beside", read)
    await withdrawals[0]
    made = await scene.adapter("beside", "beside")
    assert [(taint.cause, taint.exchanges) for taint in made.taints] == [("withdrawn", 2)]


async def _as_object(answer: Awaitable[object]) -> object:
    return await answer


async def test_a_withdrawal_beside_a_record_taints_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_a_withdrawal_beside_a_record_taints_it(scene, monkeypatch)


async def test_the_check_notices_a_withdrawal_that_does_not_wait(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold_nobody(_: object, user_ids: Collection[str]) -> frozenset[str]:
        return frozenset(user_ids)

    monkeypatch.setattr(trained, "hold_owners", hold_nobody)
    with pytest.raises(AssertionError):
        await check_a_withdrawal_beside_a_record_taints_it(scene, monkeypatch)


async def test_the_same_record_again_changes_nothing_and_another_is_refused(scene: Scene) -> None:
    read = await scene.material()
    first = await scene.dataset("twice", read)
    assert (first.owners, first.shared) == (tuple(sorted((scene.ana, scene.ben))), False)
    assert await scene.dataset("twice", read) == first
    with pytest.raises(AlreadyRecorded):
        await scene.dataset("twice", read[:1])
    made = await scene.adapter("named", "twice")
    assert await scene.adapter("named", "twice", "twice") == made
    with pytest.raises(AlreadyRecorded):
        await scene.adapter("named", f"data-{OURS}")
    with pytest.raises(DatasetNotFound):
        await scene.adapter("other", "twice", "nowhere")


async def test_an_adapter_that_is_recorded_too_late_is_tainted_from_the_beginning(scene: Scene) -> None:
    await scene.dataset("slow", await scene.material())
    await withdraw(scene)
    made = await scene.adapter("slow", "slow")
    assert [(taint.cause, taint.exchanges) for taint in made.taints] == [("withdrawn", 2)]


# ---------------------------------------------------------------- who may use an adapter


async def test_others_may_use_an_adapter_once_each_whose_words_trained_it_agrees(scene: Scene) -> None:
    def usable(found: Mapping[str, TrainedAdapter], who: str) -> set[str]:
        return {name for name, one in found.items() if one.usable_by(who)}

    before = await scene.standing()
    assert usable(before, scene.ana) == {OURS, BOTH}
    assert usable(before, scene.ben) == {THEIRS, BOTH}
    assert usable(before, "a guest") == set()
    await choose(scene.client, scene.ana, share_adapters=True)
    assert usable(await scene.standing(), "a guest") == {OURS}
    await choose(scene.client, scene.ben, share_adapters=True)
    assert usable(await scene.standing(), "a guest") == {OURS, THEIRS, BOTH}
    await choose(scene.client, scene.ana, share_adapters=False)
    assert usable(await scene.standing(), "a guest") == {THEIRS}


async def test_whose_owner_is_gone_is_shared_no_more(scene: Scene) -> None:
    await choose(scene.client, scene.ben, share_adapters=True)
    await remove_the_account(scene)
    found = await scene.standing()
    assert (found[BOTH].owners, found[BOTH].shared) == ((scene.ben,), False)
    assert (found[OURS].owners, found[OURS].shared) == ((), False)


async def test_adapters_are_listed_a_page_at_a_time_and_by_owner(scene: Scene) -> None:
    first = await scene.trainer.request(LIST_TRAINED, ListTrained(limit=2))
    rest = await scene.trainer.request(LIST_TRAINED, ListTrained(limit=2, cursor=first.next_cursor))
    assert scene.told(tuple(one.adapter for one in (*first.adapters, *rest.adapters))) == (OURS, THEIRS, BOTH)
    assert rest.next_cursor is None
    assert set(await scene.standing(owner=scene.ben)) == {THEIRS, BOTH}
    assert set(await scene.standing(adapters=(f"{scene.tag}-{OURS}", "unknown"))) == {OURS}
