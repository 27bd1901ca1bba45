"""What a turn needs before its answer begins, fetched in parallel: its key, the conversation, what is remembered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import ChatMessage, ChatRequest
from libs.shared.contracts.common import MemoryMode, Position, Speaker
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.turns import (
    JOIN_TURN,
    OPEN_TURN,
    READ_TURNS,
    Joined,
    JoinTurn,
    OpenTurn,
    ReadTurns,
    Resent,
    TurnKey,
    TurnMessage,
)
from libs.shared.errors import Internal, ServiceError
from libs.shared.extractive import Memory as MemoryState
from services.cognition.choosing import Choice
from services.cognition.dialogue import Dialogue
from services.cognition.memory import Memory, Recollection
from services.cognition.patience import ask
from services.cognition.selection import Hit
from services.cognition.sessions import Sessions
from services.cognition.settings import CognitionSettings
from services.cognition.templates import own_words

MOST_RESENT = 64
"""Of a client's history so many of the newest messages tell where it goes on."""


@dataclass(frozen=True)
class Gathered:
    """``turns`` are the conversation's newest, oldest first; ``key`` is None where the turn is not kept."""

    settings: RuntimeSettings
    """Its conversation's: what the turn goes by to its end."""
    key: TurnKey | None = None
    turns: tuple[TurnMessage, ...] = ()
    hits: tuple[Hit, ...] = ()
    memory: MemoryState = "off"
    joined: Joined | None = None
    """Where the turn belongs, of a client that resends its history and names no conversation."""


class Gatherer:
    """Asks persistence; holds nothing."""

    def __init__(self, bus: Bus, memory: Memory, sessions: Sessions, settings: CognitionSettings) -> None:
        self._bus = bus
        self._memory = memory
        self._sessions = sessions
        self._settings = settings

    async def gather(self, request: ChatRequest, dialogue: Dialogue, choice: Choice) -> Gathered:
        """Raises what OPEN_TURN and READ_TURNS raise; a memory out of reach leaves the answer without memories."""
        if request.memory is MemoryMode.OFF:
            return Gathered(choice.made(None))
        position = request.read_after or await self._sessions.last(request.user_id)
        try:
            async with asyncio.TaskGroup() as group:
                key = group.create_task(self._key(request, position))
                turns = group.create_task(self._turns(request, dialogue, position))
                joined = group.create_task(self._joined(request, dialogue, position))
                found = group.create_task(self._recalled(request, dialogue, position, choice, joined))
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        recollection = found.result()
        state: MemoryState = "unreachable" if recollection is None else "searched"
        hits = () if recollection is None else recollection.hits
        settings = choice.made(joined.result())
        return Gathered(settings, key.result(), turns.result(), hits, state, joined.result())

    async def _recalled(
        self,
        request: ChatRequest,
        dialogue: Dialogue,
        position: Position | None,
        choice: Choice,
        joining: asyncio.Task[Joined | None],
    ) -> Recollection | None:
        return await self._memory.recall_for_turn(
            request.user_id,
            dialogue.question,
            position,
            await choice.awaited(joining),
            kept=request.memory is MemoryMode.READ_WRITE,
            shown=self._shown(request, dialogue),
        )

    def _shown(self, request: ChatRequest, dialogue: Dialogue) -> int:
        """At most so many earlier messages of the conversation stand in the prompt."""
        most = self._settings.history_messages
        if dialogue.resends or request.conversation_id is None:
            return min(most, len(dialogue.history))
        return most

    async def _key(self, request: ChatRequest, position: Position | None) -> TurnKey | None:
        if request.memory is not MemoryMode.READ_WRITE:
            return None
        question = OpenTurn(
            user_id=request.user_id,
            turn_id=request.turn_id,
            conversation_id=request.conversation_id,
            read_after=position,
        )
        return await ask(self._bus, OPEN_TURN, question, patience_s=self._settings.restart_patience_s)

    async def _turns(
        self, request: ChatRequest, dialogue: Dialogue, position: Position | None
    ) -> tuple[TurnMessage, ...]:
        """The conversation so far, and whether it has more; only its newest message where the client brings the history
        itself."""
        if request.conversation_id is None:
            return ()
        question = ReadTurns(
            user_id=request.user_id,
            conversation_id=request.conversation_id,
            parent_id=request.parent_id,
            max_messages=1 if dialogue.resends else self._settings.history_messages + 1,
            read_after=position,
        )
        patience_s = self._settings.restart_patience_s
        return (await ask(self._bus, READ_TURNS, question, patience_s=patience_s)).messages

    async def _joined(self, request: ChatRequest, dialogue: Dialogue, position: Position | None) -> Joined | None:
        """Asked where the turn is kept and its client may not know of the conversation that it belongs to."""
        if request.memory is not MemoryMode.READ_WRITE or request.conversation_id is not None:
            return None
        if not (dialogue.before or request.chat or request.again):
            return None
        question = JoinTurn(
            user_id=request.user_id,
            before=tuple(_resent(message) for message in dialogue.before[-MOST_RESENT:]),
            said=dialogue.said,
            chat=request.chat,
            again=request.again,
            read_after=position,
        )
        return await ask(self._bus, JOIN_TURN, question, patience_s=self._settings.restart_patience_s)


def _resent(message: ChatMessage) -> Resent:
    return Resent(speaker=Speaker(message.role), text=own_words(message.text))


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The refusal that the client is told; a fault of ours outweighs it, and a nested group is opened."""
    flat: list[BaseException] = []
    for failure in failures.exceptions:
        flat.append(_first(failure) if isinstance(failure, BaseExceptionGroup) else failure)
    faults = [f for f in flat if not isinstance(f, ServiceError)]
    return (faults or flat or [Internal()])[0]
