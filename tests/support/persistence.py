"""Persistence for tests: the real handlers on a real database and slot file, over whichever bus the test brings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from libs.shared.bus import Bus
from libs.shared.contracts.accounts import CREATE_USER, CreateUser
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Position, Role, SealedText, Speaker
from libs.shared.contracts.keeping import KEEP_NOTE, KEEP_TURNS, KeepNote, KeepTurns, KeptMemories
from libs.shared.contracts.memory import ImportedTurn, MemoryItem
from libs.shared.contracts.turns import OPEN_TURN, TURN_COMPLETED, KeptMessage, OpenTurn, TurnCompleted, TurnKey
from libs.shared.sealing import new_key, seal
from services.persistence import forgetting
from services.persistence.parts import Parts
from services.persistence.postgres import Database
from services.persistence.service import build, open_slots, serve
from services.persistence.settings import PersistenceSettings
from tests.support.database import Cluster

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def new_id() -> str:
    return uuid4().hex


@dataclass
class RunningPersistence:
    """One process's worth of persistence; ``stop`` and ``start`` are its restart."""

    settings: PersistenceSettings
    connect: Callable[[Principal], Awaitable[Bus]]
    bus: Bus = field(init=False)
    parts: Parts = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    def on(cls, cluster: Cluster, folder: Path, connect: Callable[[Principal], Awaitable[Bus]]) -> RunningPersistence:
        (folder / "keys").mkdir(parents=True)
        (folder / "keys" / "installation.key").write_bytes(new_key())
        return cls(PersistenceSettings(state=folder, database_url=cluster.fresh_database()), connect)

    async def open(self) -> None:
        """Opens database and slots, serves nothing yet."""
        address = self.settings.database_address()
        database = Database(address, pool_size=4)
        self.bus = await self.connect(Principal.PERSISTENCE)
        self.parts = await build(self.bus, database, await open_slots(self.settings, database), self.settings)

    async def start(self) -> None:
        await self.open()
        await forgetting.finish_promised(self.parts)
        await serve(self.parts, self.bus)
        self._tasks = [asyncio.create_task(work.run()) for work in (self.parts.outbox, self.parts.mirror)]

    async def stop(self) -> None:
        await self.bus.drain(5)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.parts.indexes.close()
        await self.parts.database.close()
        await self.parts.keys.slots.close()


@dataclass
class Client:
    """What the other services do with persistence."""

    bus: Bus
    """As the api."""
    cognition: Bus

    async def user(self, name: str = "", role: Role = Role.USER) -> str:
        user_id = new_id()
        await self.bus.request(CREATE_USER, CreateUser(user_id=user_id, name=name or user_id, role=role))
        return user_id

    async def open(self, user_id: str, conversation_id: str | None = None) -> TurnKey:
        request = OpenTurn(user_id=user_id, turn_id=new_id(), conversation_id=conversation_id)
        return await self.cognition.request(OPEN_TURN, request)

    async def turn(
        self, user_id: str, conversation_id: str, *texts: str, parent_id: str | None = None, at: datetime = START
    ) -> TurnCompleted:
        """A finished turn whose messages alternate between the user and the assistant, not published yet."""
        return make_turn(await self.open(user_id), user_id, conversation_id, *texts, parent_id=parent_id, at=at)

    async def publish(self, turn: TurnCompleted) -> Position:
        return await self.cognition.publish(TURN_COMPLETED, turn, message_id=turn.turn_id)

    async def import_turns(self, user_id: str, *turns: ImportedTurn) -> KeptMemories:
        return await self.cognition.request(KEEP_TURNS, KeepTurns(user_id=user_id, turns=turns))

    async def note(self, user_id: str, text: str) -> MemoryItem:
        kept = await self.cognition.request(KEEP_NOTE, KeepNote(user_id=user_id, text=text))
        return kept.items[0]

    async def say(self, user_id: str, conversation_id: str, *texts: str) -> tuple[TurnCompleted, Position]:
        """Keeps a turn, as cognition does."""
        turn = await self.turn(user_id, conversation_id, *texts)
        return turn, await self.publish(turn)


def imported(turn_id: str, text: str, *, within: str = "trip", speaker: str = "Zoé", minute: int = 0) -> ImportedTurn:
    """Something that was said elsewhere, so many minutes after the start."""
    at = START + timedelta(minutes=minute)
    return ImportedTurn(id=turn_id, conversation_id=within, speaker=speaker, text=text, at=at)


def make_turn(
    key: TurnKey,
    user_id: str,
    conversation_id: str,
    *texts: str,
    parent_id: str | None = None,
    at: datetime = START,
) -> TurnCompleted:
    """Texts sealed under ``key``."""
    messages: list[KeptMessage] = []
    for i, text in enumerate(texts):
        messages.append(
            KeptMessage(
                message_id=new_id(),
                parent_id=messages[-1].message_id if messages else parent_id,
                speaker=(Speaker.USER, Speaker.ASSISTANT)[i % 2],
                text=SealedText(slot=key.slot, sealed=seal(key.key, text.encode())),
                at=at + timedelta(seconds=i),
            )
        )
    return TurnCompleted(
        turn_id=new_id(),
        user_id=user_id,
        conversation_id=conversation_id,
        new_conversation=False,
        messages=tuple(messages),
        model="test",
        at=at,
    )
