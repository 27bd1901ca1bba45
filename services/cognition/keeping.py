"""Keeping a turn: sealed with its own key and on the stream's disk before the client is told that it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Position, SealedText, Speaker
from libs.shared.contracts.turns import TURN_COMPLETED, KeptMessage, TurnCompleted, TurnKey
from libs.shared.sealing import seal
from libs.shared.telemetry import tracer
from services.cognition.measuring import measured
from services.cognition.sessions import Sessions


@dataclass(frozen=True)
class FinishedTurn:
    """What was said in a turn, in plain words."""

    turn_id: str
    user_id: str
    conversation_id: str
    new_conversation: bool
    parent_id: str | None
    """What the turn answers to; None for a conversation's first."""
    said: tuple[str, ...]
    said_at: datetime
    answer: str
    answered_at: datetime
    model: str | None
    partial: bool
    prompt_tokens: int
    completion_tokens: int
    joined: bool = False
    """Its place was found by its client's history."""
    remembered: bool = True
    """Of a new conversation: whether it is recalled elsewhere."""
    recalled: tuple[str, ...] = ()
    """The memories that stood in the prompt, or that the answer quotes."""


@dataclass(frozen=True)
class Kept:
    """Where a turn lies, and its newest message."""

    position: Position
    message_id: str


def sealed_turn(turn: FinishedTurn, key: TurnKey, new_id: Callable[[], str]) -> TurnCompleted | None:
    """The event, each message the child of the one before; None when nothing was said that could be kept. Pure."""
    texts = [(Speaker.USER, text, turn.said_at) for text in turn.said]
    if turn.answer.strip():
        texts.append((Speaker.ASSISTANT, turn.answer, turn.answered_at))
    messages: list[KeptMessage] = []
    parent = turn.parent_id
    for speaker, text, at in texts:
        sealed = SealedText(slot=key.slot, sealed=seal(key.key, text.encode(errors="replace")))
        message = KeptMessage(message_id=new_id(), parent_id=parent, speaker=speaker, text=sealed, at=at)
        parent = message.message_id
        messages.append(message)
    if not messages:
        return None
    return TurnCompleted(
        turn_id=turn.turn_id,
        user_id=turn.user_id,
        conversation_id=turn.conversation_id,
        new_conversation=turn.new_conversation,
        messages=tuple(messages),
        model=turn.model,
        partial=turn.partial,
        prompt_tokens=turn.prompt_tokens,
        completion_tokens=turn.completion_tokens,
        at=turn.answered_at,
        remembered=turn.remembered,
        recalled=turn.recalled,
        joined=turn.joined,
    )


class Keeper:
    """Publishes finished turns and moves the user's session on."""

    def __init__(self, bus: Bus, sessions: Sessions, new_id: Callable[[], str]) -> None:
        self._bus = bus
        self._sessions = sessions
        self._new_id = new_id

    async def keep(self, turn: FinishedTurn, key: TurnKey) -> Kept | None:
        """Returns once the turn is on disk; None when there was nothing to keep. Raises as ``publish``."""
        event = sealed_turn(turn, key, self._new_id)
        if event is None:
            return None
        with tracer.start_as_current_span("keep"), measured("upsert_memory"):
            position = await self._bus.publish(TURN_COMPLETED, event, message_id=event.turn_id)
        await self._sessions.moved(turn.user_id, position)
        return Kept(position, event.messages[-1].message_id)
