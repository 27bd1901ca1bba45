"""Restoring a backup, as far as it is persistence's: the slot file out of its keys, the forgettings that came later,
and whether what is restored can be read. Nothing is served: the bus is one of this process alone.

``python -m services.persistence.restoring keys`` makes the slot file of the records on its standard input;
``… replay`` forgets what the journal in the state folder knows and the database doesn't, and looks. Both print JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any, BinaryIO

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.errors import RunLost
from libs.shared.sealing import Unreadable, unseal
from services.persistence import forgetting, journal
from services.persistence.parts import Parts
from services.persistence.postgres import Database, Statement, judge_schema
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.repositories import ledger_checks, runs
from services.persistence.sealing import KeysDontFit
from services.persistence.service import build, open_slots
from services.persistence.settings import PersistenceSettings, get_settings
from services.persistence.slot_file import RECORD_BYTES, KeyGone, write_anew

RUN_LOST = "the installation was restored from a backup, which has no runs: ask for it again"
_TIMEOUT_S = 300.0
"""Of a statement: nobody waits for an answer here."""
_OPENED_EACH = 300
"""Messages that are opened to see whether they can be: so many of the oldest, and of the newest."""
_USERS = Statement("SELECT user_id, key_slot FROM users ORDER BY created_at, user_id")
_SAMPLE = Statement("""
(SELECT user_id, slot, text FROM messages ORDER BY ordinal LIMIT :most)
UNION (SELECT user_id, slot, text FROM messages ORDER BY ordinal DESC LIMIT :most)
""")
_COUNTS = Statement(
    "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM turns), (SELECT count(*) FROM messages)"
)


def write_keys(settings: PersistenceSettings, stream: BinaryIO) -> dict[str, Any]:
    """The slot file of these records. Raises FileExistsError, ValueError, OSError."""
    return {"keys": write_anew(settings.folder.slots, _records(stream))}


def _records(stream: BinaryIO) -> Iterator[bytes]:
    while record := stream.read(RECORD_BYTES):
        yield record


async def replay(settings: PersistenceSettings) -> dict[str, Any]:
    """What was replayed, and what was found. Raises JournalDamaged, KeysDontFit, SchemaMismatch, ServiceError."""
    async with AsyncExitStack() as stack:
        database = Database(settings.database_address(), statement_timeout_s=_TIMEOUT_S)
        stack.push_async_callback(database.close)
        judge_schema(await database.schema_revision())
        slots = await open_slots(settings, database)
        stack.push_async_callback(slots.close)
        bus = await MemoryBroker().connect(Principal.PERSISTENCE)
        stack.push_async_callback(bus.drain, 1.0)
        parts = await build(bus, database, slots, settings)
        stack.push_async_callback(parts.indexes.close)
        replayed = await _replay_forgettings(parts)
        async with parts.database.transaction() as session:
            ended = await runs.end_unfinished(session, RunLost(RUN_LOST), parts.clock())
        return {"forgettings_replayed": replayed, "runs_ended": ended, **await _look(parts)}


async def _replay_forgettings(parts: Parts) -> int:
    """First those that the backup had promised itself, then those that it doesn't know."""
    await forgetting.finish_promised(parts)
    async with parts.database.plainly() as driver:
        known = await forgetting_rows.receipt_ids(driver)
    entries = journal.read(parts.journal, parts.keys.derived_key(journal.PURPOSE))
    later = [entry for entry in entries if entry.receipt.receipt_id not in known]
    for entry in later:
        await forgetting.replay(entry, parts)
    return len(later)


async def _look(parts: Parts) -> dict[str, Any]:
    async with parts.database.plainly() as driver:
        ((users, turns, messages),) = await _COUNTS.fetch(driver)
        opened, unreadable = await _open_some(driver, parts)
    async with parts.database.transaction() as session:
        ledger = await ledger_checks.verified(session, parts.ledger.signer.key)
    return {
        "users": users,
        "turns": turns,
        "messages": messages,
        "opened": opened,
        "unreadable": unreadable,
        "searchable": await _load_indexes(parts),
        "ledger_broken_at": ledger.entry_broken_at or ledger.broken_at,
    }


async def _open_some(driver: Any, parts: Parts) -> tuple[int, int]:
    """How many of a sample open, and how many don't: these were lost or forgotten before the backup already."""
    keys = {}
    for user_id, slot in await _USERS.fetch(driver):
        try:
            keys[user_id] = parts.keys.open_user(user_id, slot)
        except (KeyGone, Unreadable):
            continue
    opened = unreadable = 0
    for user_id, slot, text in await _SAMPLE.fetch(driver, most=_OPENED_EACH):
        try:
            unseal(parts.keys.data_key(keys[user_id], slot), text)
            opened += 1
        except (KeyError, KeyGone, Unreadable):
            unreadable += 1
    if unreadable and not opened:
        raise KeysDontFit("not one message opens with the keys of the backup")
    return opened, unreadable


async def _load_indexes(parts: Parts) -> int:
    """How many memories can be searched."""
    async with parts.database.plainly() as driver:
        users = [row[0] for row in await _USERS.fetch(driver)]
    memories = 0
    for user_id in users:
        with suppress(KeyGone, Unreadable):  # an account whose own key was lost before the backup
            memories += (await parts.indexes.profile(user_id)).memories
    return memories


def main(arguments: list[str]) -> None:
    """Exit code 1, with the reason on standard error, when it can't be done."""
    try:
        if arguments == ["keys"]:
            told = write_keys(get_settings(), sys.stdin.buffer)
        elif arguments == ["replay"]:
            told = asyncio.run(replay(get_settings()))
        else:
            sys.exit("keys or replay?")
    except Exception as error:
        sys.exit(f"{error or type(error).__name__}")
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
