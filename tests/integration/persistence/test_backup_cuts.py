"""The cut of a backup: everything acknowledged is in its snapshot, with exactly the keys of its rows; and receipts name
the backups that still hold what was forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.backups import (
    LIST_BACKUPS,
    SETTLE_BACKUP,
    TAKE_CUT,
    BackupState,
    Cut,
    SettleBackup,
    TakeCut,
)
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.forgetting import LIST_RECEIPTS, ListReceipts, Receipt
from libs.shared.contracts.memory import FORGET_EVERYTHING, FORGET_MEMORY, MemoryRef, UserMemory
from libs.shared.contracts.turns import TurnCompleted
from libs.shared.errors import BackupNotFound, NotYetApplied, Overloaded
from libs.shared.receipts import verify
from libs.shared.sealing import unseal
from services.persistence import journal
from services.persistence.applying import TurnApplier
from services.persistence.slot_file import RECORD_BYTES, SlotFile
from services.persistence.watermark import Watermark
from tests.support.database import Cluster
from tests.support.persistence import Client, RunningPersistence, new_id


@dataclass
class House:
    client: Client
    persistence: RunningPersistence

    @asynccontextmanager
    async def cut(self, backup_id: str = "", wait_s: float = 20.0) -> AsyncIterator[tuple[Cut, dict[int, bytes]]]:
        """A cut that is held inside the block, and its keys by slot."""
        request = TakeCut(backup_id=backup_id or new_id(), place="/backups/one.backup", wait_s=wait_s)
        async with asyncio.timeout(30), self.client.bus.stream(TAKE_CUT, request) as chunks:
            cut, keys = None, b""
            async for chunk in chunks:
                cut, keys = cut or chunk.cut, keys + chunk.keys
                if chunk.complete:
                    break
            assert cut is not None
            records = [keys[at : at + RECORD_BYTES] for at in range(0, len(keys), RECORD_BYTES)]
            yield cut, {int.from_bytes(one[:8], "little"): one[8:] for one in records}

    async def backed_up(self, backup_id: str) -> None:
        async with self.cut(backup_id):
            pass
        await self.settle(backup_id, BackupState.KEPT)

    async def settle(self, backup_id: str, state: BackupState) -> None:
        await self.client.bus.request(SETTLE_BACKUP, SettleBackup(backup_id=backup_id, state=state))

    async def rows(self, cut: Cut) -> list[tuple[str, int, bytes]]:
        """User, slot and sealed text of every message in the snapshot, as pg_dump would see them."""
        url = self.persistence.settings.database_address().replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(f"SET TRANSACTION SNAPSHOT '{cut.snapshot}'")
                return [tuple(row) for row in await connection.fetch("SELECT user_id, slot, text FROM messages")]
        finally:
            await connection.close()

    def opened(self, rows: list[tuple[str, int, bytes]], keys: dict[int, bytes]) -> set[str]:
        """What the rows say, by the cut's keys alone. Raises Unreadable, KeyError."""
        ring = self.persistence.parts.keys
        users = {user: ring.cached(user) for user, _, _ in rows}
        return {unseal(unseal(users[user].key, keys[slot]), text).decode() for user, slot, text in rows}  # type: ignore[union-attr]

    async def say(self, user_id: str, conversation_id: str, *texts: str) -> TurnCompleted:
        """A turn that is applied."""
        turn, position = await self.client.say(user_id, conversation_id, *texts)
        await self.persistence.parts.watermark.wait_until_applied(position, 10)
        return turn

    async def forget(self, user_id: str, memory_id: str) -> Receipt:
        return await self.client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=memory_id))


@pytest_asyncio.fixture
async def house(cluster: Cluster, tmp_path: Path) -> AsyncIterator[House]:
    broker = MemoryBroker()
    persistence = RunningPersistence.on(cluster, tmp_path / "state", broker.connect)
    await persistence.start()
    # the command and the api are one principal here: the broker of memory asks nobody for permissions
    client = Client(await broker.connect(Principal.CLI), await broker.connect(Principal.COGNITION))
    yield House(client, persistence)
    await persistence.stop()


async def check_all_acknowledged_is_in_the_cut(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are on disk and wait to be applied when the cut is asked for."""
    user = await house.client.user()
    apply = TurnApplier._deal_with

    async def slowly(self: TurnApplier, delivery: object) -> None:
        await asyncio.sleep(0.02)  # a database that is busy
        await apply(self, delivery)  # type: ignore[arg-type]

    monkeypatch.setattr(TurnApplier, "_deal_with", slowly)
    said = [f"turn {number}" for number in range(12)]
    for text in said:
        _, position = await house.client.say(user, "c1", text)
    async with house.cut() as (cut, keys):
        assert cut.position == position
        assert house.opened(await house.rows(cut), keys) == set(said)
        assert cut.counts["turns"] == len(said)


async def test_every_turn_that_was_acknowledged_before_the_cut_is_in_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_all_acknowledged_is_in_the_cut(house, monkeypatch)


async def test_without_the_wait_for_what_is_not_applied_turns_are_missing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of the test above."""

    async def at_once(*_: object) -> None:
        return None

    monkeypatch.setattr(Watermark, "wait_until_applied", at_once)
    with pytest.raises(AssertionError):
        await check_all_acknowledged_is_in_the_cut(house, monkeypatch)


async def test_what_can_not_be_applied_in_time_is_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await house.client.user()

    ended, apply = asyncio.Event(), TurnApplier._deal_with

    async def late(self: TurnApplier, delivery: object) -> None:
        await ended.wait()
        await apply(self, delivery)  # type: ignore[arg-type]

    monkeypatch.setattr(TurnApplier, "_deal_with", late)
    await house.client.say(user, "c1", "waits")
    with pytest.raises(NotYetApplied):
        async with house.cut(wait_s=0.2):
            pass
    ended.set()


async def test_what_is_forgotten_while_the_dump_runs_stays_readable_in_it_with_its_neighbours(house: House) -> None:
    """The keys were copied in the moment of the snapshot: sealing anew and destroying come after it."""
    user = await house.client.user()
    turn = await house.say(user, "c1", "question", "answer")
    async with house.cut() as (cut, keys):
        receipt = await house.forget(user, turn.messages[0].message_id)
        await house.client.say(user, "c2", "takes a slot that became free")
        assert receipt.removed.data_keys > 0
        assert house.opened(await house.rows(cut), keys) == {"question", "answer"}


async def test_keys_are_not_destroyed_between_the_snapshot_and_their_copying(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Destroying waits while keys are read, whoever wants it."""
    user = await house.client.user()
    turn = await house.say(user, "c1", "question", "answer")
    slots, read = house.persistence.parts.keys.slots, SlotFile.records
    loop = asyncio.get_running_loop()
    destroying: list[asyncio.Future[int]] = []

    def read_while_somebody_destroys(self: SlotFile, needed: list[int]) -> bytes:
        work = slots.destroy([turn.messages[0].text.slot])
        destroying.append(asyncio.run_coroutine_threadsafe(work, loop))  # type: ignore[arg-type]
        return read(self, needed)

    monkeypatch.setattr(SlotFile, "records", read_while_somebody_destroys)
    async with house.cut() as (cut, keys):
        assert house.opened(await house.rows(cut), keys) == {"question", "answer"}
    assert await asyncio.wrap_future(destroying[0]) == 1


async def test_a_cut_has_the_keys_of_its_rows_and_no_other(house: House) -> None:
    user = await house.client.user()
    gone = await house.say(user, "c1", "goes")
    await house.say(user, "c2", "stays")
    await house.client.open(user)  # a key whose turn never came
    await house.forget(user, gone.messages[0].message_id)
    async with house.cut() as (cut, keys):
        rows = await house.rows(cut)
        used = house.persistence.parts.keys.slots.used
    assert house.opened(rows, keys) == {"stays"}
    assert len(keys) == cut.keys < len(used)
    assert gone.messages[0].text.slot not in keys


async def test_one_cut_is_held_at_a_time_and_the_next_may_follow(house: House) -> None:
    async with house.cut():
        with pytest.raises(Overloaded):
            async with house.cut():
                pass
    async with asyncio.timeout(5), house.persistence.parts.cutting:
        pass  # whoever held the first has gone
    async with house.cut():
        pass


# ---------------------------------------------------------------- receipts


async def test_a_receipt_names_the_backups_that_still_hold_what_was_forgotten(house: House) -> None:
    user = await house.client.user()
    first = await house.say(user, "c1", "early")
    await house.backed_up("one")
    second = await house.say(user, "c1", "late")
    early = await house.forget(user, first.messages[0].message_id)
    assert early.backups == ("one",)
    assert verify(early)
    await house.backed_up("two")
    assert (await house.forget(user, second.messages[0].message_id)).backups == ("two",)
    listed = await house.client.bus.request(LIST_RECEIPTS, ListReceipts(user_id=user))
    assert {backup.backup_id: backup.state for backup in listed.backups} == {"one": "kept", "two": "kept"}


async def test_a_deleted_backup_holds_nothing_any_more_and_older_receipts_stay_genuine(house: House) -> None:
    user = await house.client.user()
    said = await house.say(user, "c1", "early")
    await house.backed_up("one")
    await house.backed_up("two")
    receipt = await house.forget(user, said.messages[0].message_id)
    assert receipt.backups == ("two", "one")
    await house.settle("one", BackupState.DELETED)
    listed = await house.client.bus.request(LIST_RECEIPTS, ListReceipts(user_id=user))
    assert listed.receipts == (receipt,)
    assert verify(listed.receipts[0])
    states = {backup.backup_id: (backup.state, backup.settled_at is not None) for backup in listed.backups}
    assert states == {"one": ("deleted", True), "two": ("kept", True)}
    everything = await house.client.bus.request(FORGET_EVERYTHING, UserMemory(user_id=user))
    assert "one" not in everything.backups


async def test_the_list_survives_a_restart(house: House) -> None:
    await house.backed_up("one")
    await house.persistence.stop()
    await house.persistence.start()
    listed = await house.client.bus.request(LIST_BACKUPS, Empty())
    assert [(one.backup_id, one.state) for one in listed.backups] == [("one", "kept")]
    with pytest.raises(BackupNotFound):
        await house.settle("never", BackupState.KEPT)


async def test_each_forgetting_is_written_down_outside_of_the_database(house: House) -> None:
    user = await house.client.user()
    said = await house.say(user, "c1", "secret words")
    receipt = await house.forget(user, said.messages[0].message_id)
    parts = house.persistence.parts
    (entry,) = journal.read(parts.journal, parts.keys.derived_key(journal.PURPOSE))
    assert (entry.user_id, entry.receipt) == (user, receipt)
