"""Applying turns from the stream: in order, once each, and never stuck on one that can't be applied."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Any

from asyncpg import IntegrityConstraintViolationError

from libs.shared.bus.base import Delivery, Poison
from libs.shared.contracts.common import Position
from libs.shared.contracts.turns import KeptMessage, TurnCompleted
from libs.shared.errors import InvalidRequest, Overloaded, StorageFull, Unavailable
from libs.shared.sealing import Unreadable, unseal
from libs.shared.telemetry import get_logger
from services.persistence.derived_ids import said_hash
from services.persistence.postgres import Database
from services.persistence.repositories import joining, turns
from services.persistence.repositories.turns import Known
from services.persistence.sealing import KeyRing
from services.persistence.slot_file import KeyGone
from services.persistence.watermark import Watermark

log = get_logger(__name__)

_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class Verdict(StrEnum):
    """What happens to a turn; everything but ``KEEP`` and ``DUPLICATE`` has a reason for its name."""

    KEEP = "keep"
    DUPLICATE = "duplicate"
    FORGOTTEN = "forgotten"
    REPEATED = "repeated"
    """Its client resent what is kept at that place already, and nothing else."""
    UNKNOWN_USER = "unknown_user"
    FOREIGN_CONVERSATION = "foreign_conversation"
    SEVERAL_KEYS = "several_keys"
    UNREADABLE = "unreadable"
    """Its slot does not hold the key that sealed it."""
    REFUSED = "refused"
    """The database refuses its values."""
    FAILED = "failed"
    """It failed at every attempt."""

    @property
    def quarantined(self) -> bool:
        return self not in (Verdict.KEEP, Verdict.DUPLICATE, Verdict.FORGOTTEN, Verdict.REPEATED)


def judge(turn: TurnCompleted, known: Known) -> Verdict:
    """What to do with a turn, as far as rows tell."""
    if known.forgotten:
        return Verdict.FORGOTTEN
    if known.applied:
        return Verdict.DUPLICATE
    if known.key_slot is None:
        return Verdict.UNKNOWN_USER
    if known.conversation_owner not in (None, turn.user_id):
        return Verdict.FOREIGN_CONVERSATION
    if len({message.text.slot for message in turn.messages}) != 1:
        return Verdict.SEVERAL_KEYS
    return Verdict.KEEP


def is_remembered(turn: TurnCompleted, known: Known) -> bool:
    """Whether what was said is recalled elsewhere: a conversation that exists has its own setting."""
    return turn.remembered if known.remembered is None else known.remembered


def attach(turn: TurnCompleted, known: Known) -> tuple[KeptMessage, ...]:
    """The messages with parents that exist.

    The first of a turn that names none, or one that isn't in the conversation, continues the newest: a turn
    whose forerunner was quarantined is still kept. A new conversation begins with a root, and so does a turn that
    joined one by its client's history and has no parent there.
    """
    return tuple(_attached(turn, known))


def _attached(turn: TurnCompleted, known: Known) -> Iterator[KeptMessage]:
    before = known.newest_message_id
    within: set[str | None] = {None} if turn.joined and turn.messages[0].parent_id is None else set()
    for message in turn.messages:
        if message.parent_id not in known.parents | within:
            message = message.model_copy(update={"parent_id": before})
        yield message
        before = message.message_id
        within.add(before)


async def _not_kept_yet(
    driver: Any, turn: TurnCompleted, messages: Sequence[KeptMessage], said: Mapping[str, bytes | None]
) -> tuple[KeptMessage, ...]:
    """The messages from the first on that is not at its place already, under the one that is there before it."""
    parent = messages[0].parent_id
    for place, message in enumerate(messages):
        hashed = said[message.message_id]
        at = (turn.user_id, turn.conversation_id, parent)
        kept = await joining.child(driver, *at, hashed) if hashed is not None else None
        if kept is None:
            return (message.model_copy(update={"parent_id": parent}), *messages[place + 1 :])
        parent = kept
    return ()


@dataclass
class TurnApplier:
    """Consumes TURN_COMPLETED. One transaction a turn: its rows, its index job and the watermark together."""

    database: Database
    keys: KeyRing
    watermark: Watermark
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    retention_s: float
    on_job: Callable[[], None]
    """Told after a commit that put an event into the outbox."""
    on_settled: Callable[[int], None]
    """Told the slot of a turn that was kept, or whose key was destroyed."""
    on_used: Callable[[str, Sequence[str], datetime], None]
    """Told whose memories stood in the prompt of a turn that was kept, and when."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held around each transaction; whoever writes a tombstone holds it too, so that none is overlooked."""

    async def handle(self, delivery: Delivery[TurnCompleted]) -> None:
        """Returns once the turn is dealt with."""
        await self._patiently(lambda: self._deal_with(delivery))

    async def poison(self, poison: Poison) -> None:
        """Sets aside what can't be read as a turn."""
        await self._patiently(lambda: self._set_poison_aside(poison))

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Waits while the database is away: order must be kept, and no attempt may be spent on that."""
        self.watermark.caught_up = False
        for attempt in count():
            try:
                await work()
                break
            except (Unavailable, StorageFull, Overloaded) as error:
                if attempt == 0:
                    log.warning("turns_wait", reason=error.code)
            await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])

    async def caught_up(self, position: Position) -> None:
        """Nothing is pending up to ``position``: messages that were deleted there count as applied."""
        if position.epoch != self.watermark.epoch or position.sequence > self.watermark.sequence:
            async with self.database.writing() as driver:
                await turns.advance(driver, position, erase_after=None)
            self.watermark.advance(position)
        self.watermark.caught_up = True

    async def _deal_with(self, delivery: Delivery[TurnCompleted]) -> None:
        try:
            verdict = await self._apply(delivery)
        except (IntegrityConstraintViolationError, InvalidRequest):
            verdict = await self._set_aside(delivery, Verdict.REFUSED)
        except (Unavailable, StorageFull, Overloaded):
            raise
        except Exception:
            if not delivery.last_attempt:
                raise
            log.exception("turn_failed", turn_id=delivery.message.turn_id)
            verdict = await self._set_aside(delivery, Verdict.FAILED)
        self.watermark.advance(delivery.position)
        self._tell(verdict, delivery.message)

    def _tell(self, verdict: Verdict, turn: TurnCompleted) -> None:
        if verdict is Verdict.KEEP:
            self.on_settled(turn.messages[0].text.slot)
            self.on_job()
            if turn.recalled:
                self.on_used(turn.user_id, turn.recalled, turn.at)
        elif verdict.quarantined:
            log.error("turn_quarantined", turn_id=turn.turn_id, reason=verdict.value)

    async def _apply(self, delivery: Delivery[TurnCompleted]) -> Verdict:
        turn, now = delivery.message, self.clock()
        # without a transaction around them: keeping is one statement, and the lock keeps what it was decided on true
        async with self.lock, self.database.plainly() as driver:
            known = await turns.load_known(driver, turn)
            verdict = judge(turn, known)
            messages, said = attach(turn, known), dict[str, bytes | None]()
            if verdict is Verdict.KEEP:
                verdict, said = self._read(turn, known)
            if verdict is Verdict.KEEP and turn.joined:
                messages = await _not_kept_yet(driver, turn, messages, said)
                verdict = Verdict.KEEP if messages else Verdict.REPEATED
            erase_after = self._erase_after(verdict, now)
            if verdict is Verdict.KEEP:
                await turns.keep(
                    *(driver, turn, messages, said, delivery.position, self.new_id(), now, erase_after),
                    remembered=is_remembered(turn, known),
                )
                return verdict
            if not verdict.quarantined:
                if verdict in (Verdict.FORGOTTEN, Verdict.REPEATED):
                    await self._destroy_key(turn, known)
                await turns.advance(driver, delivery.position, erase_after)
                return verdict
        return await self._set_aside(delivery, verdict)

    async def _set_aside(self, delivery: Delivery[TurnCompleted], verdict: Verdict) -> Verdict:
        now = self.clock()
        async with self.lock, self.database.writing() as driver:
            await turns.quarantine(driver, delivery.message, delivery.message_id, verdict.value, delivery.position, now)
            await turns.advance(driver, delivery.position, self._erase_after(verdict, now))
        return verdict

    async def _set_poison_aside(self, poison: Poison) -> None:
        now = self.clock()
        async with self.lock, self.database.writing() as driver:
            await turns.quarantine_poison(driver, poison, "not_understood", now)
            await turns.advance(driver, poison.position, self._erase_after(Verdict.FAILED, now))
        self.watermark.advance(poison.position)

    def _erase_after(self, verdict: Verdict, now: datetime) -> datetime:
        at_once = verdict in (Verdict.FORGOTTEN, Verdict.REPEATED)
        return now if at_once else now + timedelta(seconds=self.retention_s)

    def _read(self, turn: TurnCompleted, known: Known) -> tuple[Verdict, dict[str, bytes | None]]:
        """Whether its key opens it, and what stands for each message by id."""
        assert known.key_slot is not None
        try:
            user = self.keys.open_user(turn.user_id, known.key_slot)
            key = self.keys.data_key(user, turn.messages[0].text.slot)
            texts = [unseal(key, message.text.sealed).decode() for message in turn.messages]
        except (KeyGone, Unreadable, UnicodeDecodeError):
            return Verdict.UNREADABLE, {}
        said = zip(turn.messages, texts, strict=True)
        return Verdict.KEEP, {message.message_id: said_hash(user, message.speaker, text) for message, text in said}

    async def _destroy_key(self, turn: TurnCompleted, known: Known) -> None:
        # Only when the slot still holds this turn's key: it may have been taken back and given to another.
        if known.key_slot is not None and not known.applied and self._read(turn, known)[0] is Verdict.KEEP:
            slot = turn.messages[0].text.slot
            await self.keys.slots.destroy((slot,))
            self.on_settled(slot)
            self.keys.slots.release((slot,))
