"""What a turn needs before its answer begins, fetched in parallel: its key, the conversation, what is remembered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.common import MemoryMode, Position
from libs.shared.contracts.turns import OPEN_TURN, READ_TURNS, OpenTurn, ReadTurns, TurnKey, TurnMessage
from libs.shared.errors import Internal, ServiceError
from libs.shared.extractive import Memory as MemoryState
from services.cognition.dialogue import Dialogue
from services.cognition.memory import Memory
from services.cognition.patience import ask
from services.cognition.selection import Hit
from services.cognition.sessions import Sessions
from services.cognition.settings import CognitionSettings


@dataclass(frozen=True)
class Gathered:
    """``turns`` are the conversation's newest, oldest first; ``key`` is None where the turn is not kept."""

    key: TurnKey | None = None
    turns: tuple[TurnMessage, ...] = ()
    hits: tuple[Hit, ...] = ()
    memory: MemoryState = "off"


NOTHING = Gathered()


class Gatherer:
    """Asks persistence; holds nothing."""

    def __init__(self, bus: Bus, memory: Memory, sessions: Sessions, settings: CognitionSettings) -> None:
        self._bus = bus
        self._memory = memory
        self._sessions = sessions
        self._settings = settings

    async def gather(self, request: ChatRequest, dialogue: Dialogue) -> Gathered:
        """Raises what OPEN_TURN and READ_TURNS raise; a memory out of reach leaves the answer without memories."""
        if request.memory is MemoryMode.OFF:
            return NOTHING
        position = request.read_after or await self._sessions.last(request.user_id)
        try:
            async with asyncio.TaskGroup() as group:
                key = group.create_task(self._key(request, position))
                turns = group.create_task(self._turns(request, dialogue, position))
                recalling = self._memory.recall_for_turn(
                    request.user_id, dialogue.question, position, kept=request.memory is MemoryMode.READ_WRITE
                )
                found = group.create_task(recalling)
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        recollection = found.result()
        if recollection is None:
            return Gathered(key.result(), turns.result(), (), "unreachable")
        return Gathered(key.result(), turns.result(), recollection.hits, "searched")

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
        """The conversation so far; only its newest message where the client brings the history itself."""
        if request.conversation_id is None:
            return ()
        question = ReadTurns(
            user_id=request.user_id,
            conversation_id=request.conversation_id,
            parent_id=request.parent_id,
            max_messages=1 if dialogue.resends else self._settings.history_messages,
            read_after=position,
        )
        patience_s = self._settings.restart_patience_s
        return (await ask(self._bus, READ_TURNS, question, patience_s=patience_s)).messages


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The refusal that the client is told; a fault of ours outweighs it, and a nested group is opened."""
    flat: list[BaseException] = []
    for failure in failures.exceptions:
        flat.append(_first(failure) if isinstance(failure, BaseExceptionGroup) else failure)
    faults = [f for f in flat if not isinstance(f, ServiceError)]
    return (faults or flat or [Internal()])[0]
