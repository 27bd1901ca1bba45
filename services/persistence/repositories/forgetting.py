"""Promises to forget, tombstones, and receipts: what outlives the rows that a forgetting removes."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.common import Position
from libs.shared.contracts.forgetting import Receipt, Removed, Scope
from services.persistence.postgres import Statement


@dataclass(frozen=True)
class Promise:
    """A forgetting that isn't finished."""

    id: int
    user_id: str
    scope: Scope
    subject_id: str
    done: Done | None
    """None: the rows are still there."""

    @property
    def in_place(self) -> bool:
        """It leaves the conversation standing: no turn may be attached to a message while that goes."""
        return self.scope in ("memory", "fact")


@dataclass(frozen=True)
class Done:
    """What the removal of the rows took: kept with the promise, so that a receipt tells it after a crash too."""

    removed: Removed
    positions: tuple[Position, ...]
    """Of messages that lay in the stream."""
    backups: tuple[str, ...] = ()
    """Those that held it then."""
    adapters: tuple[str, ...] = ()
    """Those that were trained on it."""

    def as_json(self) -> str:
        positions = [[position.epoch, position.sequence] for position in self.positions]
        plain = {"removed": self.removed.model_dump(), "positions": positions, "backups": self.backups}
        return json.dumps(plain | {"adapters": self.adapters})

    @classmethod
    def from_json(cls, told: str) -> Done:
        plain = json.loads(told)
        positions = tuple(Position(epoch=epoch, sequence=sequence) for epoch, sequence in plain["positions"])
        backups, adapters = tuple(plain.get("backups", ())), tuple(plain.get("adapters", ()))
        return cls(Removed.model_validate(plain["removed"]), positions, backups, adapters)


# ---------------------------------------------------------------- promises

_LOCK_USER = Statement("SELECT 1 FROM users WHERE user_id = :user_id FOR UPDATE")
_BURY = Statement("""
INSERT INTO tombstones (kind, id, at) VALUES (:kind, :id, :now) ON CONFLICT DO NOTHING
""")
_BURY_CONVERSATIONS = Statement("""
INSERT INTO tombstones (kind, id, at)
SELECT 'conversation', conversation_id, CAST(:now AS timestamptz) FROM conversations WHERE user_id = :user_id
ON CONFLICT DO NOTHING
""")
_PROMISE = Statement("""
INSERT INTO forgettings (user_id, scope, subject_id, slots) VALUES (:user_id, :scope, :subject_id, '{}') RETURNING id
""")
_PROMISED = Statement("SELECT id, scope FROM forgettings ORDER BY id")
_TAKE_UP = Statement("""
SELECT id, user_id, scope, subject_id, CAST(done AS text) FROM forgettings WHERE id = :id FOR UPDATE
""")
_NOTE = Statement("UPDATE forgettings SET slots = :slots, done = :done WHERE id = :id")
_KEEP = Statement("DELETE FROM forgettings WHERE id = :id RETURNING slots")


async def lock_user(driver: Any, user_id: str) -> bool:
    """Holds off what else is written for the user until the end of the transaction; whether there is such a user."""
    return bool(await _LOCK_USER.fetch(driver, user_id=user_id))


async def promise(driver: Any, user_id: str, scope: Scope, subject_id: str, now: datetime) -> int:
    """Writes the promise to forget, and the tombstones that keep out what is late; the promise's id."""
    if scope in ("conversation", "document"):
        await _BURY.fetch(driver, kind="conversation", id=subject_id, now=now)
    elif scope == "account":
        await _BURY.fetch(driver, kind="user", id=user_id, now=now)
    elif scope == "everything":
        await bury_conversations(driver, user_id, now)
    ((found,),) = await _PROMISE.fetch(driver, user_id=user_id, scope=scope, subject_id=subject_id)
    return int(found)


async def bury_conversations(driver: Any, user_id: str, now: datetime) -> None:
    """Tombstones for every conversation that the user has."""
    await _BURY_CONVERSATIONS.fetch(driver, user_id=user_id, now=now)


async def bury_turn(driver: Any, turn_id: str, now: datetime) -> None:
    """A tombstone for a turn, so that its redelivery brings nothing back."""
    await _BURY.fetch(driver, kind="turn", id=turn_id, now=now)


async def promised(driver: Any) -> list[tuple[int, str]]:
    """Forgettings that are not finished, with their scopes, oldest first."""
    return [(row[0], row[1]) for row in await _PROMISED.fetch(driver)]


async def take_up(driver: Any, promise_id: int) -> Promise:
    """The promise, locked until the end of the transaction."""
    ((found, user_id, scope, subject_id, done),) = await _TAKE_UP.fetch(driver, id=promise_id)
    return Promise(found, user_id, scope, subject_id, Done.from_json(done) if done else None)


async def note(driver: Any, promise_id: int, slots: Collection[int], done: Done) -> None:
    """The rows are gone; the keys in ``slots`` are next."""
    await _NOTE.fetch(driver, id=promise_id, slots=sorted(slots), done=done.as_json())


async def keep_promise(driver: Any, promise_id: int) -> frozenset[int]:
    """It is done, once these slots are overwritten."""
    return frozenset(slot for row in await _KEEP.fetch(driver, id=promise_id) for slot in row[0])


# ---------------------------------------------------------------- receipts

_ADD_RECEIPT = Statement("""
INSERT INTO receipts (receipt_id, user_id, at, receipt) VALUES (:receipt_id, :user_id, :at, :receipt)
""")
_RECEIPT_IDS = Statement("SELECT receipt_id FROM receipts")
_RECEIPTS = Statement("""
SELECT CAST(receipt AS text) FROM receipts WHERE user_id = :user_id
  AND (CAST(:at AS timestamptz) IS NULL OR (at, receipt_id) < (CAST(:at AS timestamptz), CAST(:receipt_id AS varchar)))
ORDER BY at DESC, receipt_id DESC LIMIT :most
""")


async def add_receipt(driver: Any, user_id: str, receipt: Receipt) -> None:
    """Keeps a receipt as it was handed out."""
    await _ADD_RECEIPT.fetch(
        driver, receipt_id=receipt.receipt_id, user_id=user_id, at=receipt.at, receipt=receipt.model_dump_json()
    )


async def receipt_ids(driver: Any) -> frozenset[str]:
    """Every receipt that was ever written."""
    return frozenset(row[0] for row in await _RECEIPT_IDS.fetch(driver))


async def receipts(driver: Any, user_id: str, limit: int, before: tuple[datetime, str] | None) -> list[Receipt]:
    """Newest first, one more than ``limit`` where there are more."""
    at, receipt_id = before or (None, None)
    rows = await _RECEIPTS.fetch(driver, user_id=user_id, at=at, receipt_id=receipt_id, most=limit + 1)
    return [Receipt.model_validate_json(row[0]) for row in rows]
