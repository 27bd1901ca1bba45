"""Keeping a turn: spoken by cognition and persistence."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Consumer, Event, JetStream, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Position, SealedText, Slot, Speaker


class OpenTurn(Message):
    """Asks for what a turn needs to be kept, before its answer begins."""

    user_id: Id
    turn_id: Id
    conversation_id: Id | None = None
    read_after: Position | None = None
    """Waits for this position when the conversation isn't known yet: its first turn may be on its way."""


class TurnKey(Message):
    """A fresh data key for one turn. Secret: never logged, never stored outside the slot file.

    Raises at the caller: ``conversation_not_found`` when the conversation isn't the user's.
    """

    slot: Slot
    key: bytes
    """32 bytes, for secretbox."""


class KeptMessage(Message):
    """One message of a finished turn, sealed with the turn's key."""

    message_id: Id
    parent_id: Id | None
    speaker: Speaker
    text: SealedText
    at: datetime


class TurnCompleted(Message):
    """A finished turn (``partial`` when the model broke off), oldest message first."""

    turn_id: Id
    user_id: Id
    conversation_id: Id
    new_conversation: bool
    messages: tuple[KeptMessage, ...] = Field(min_length=1)
    model: str | None
    partial: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    at: datetime
    remembered: bool = True
    """Of a new conversation: whether it is recalled elsewhere. A known conversation's own setting counts."""
    recalled: tuple[Id, ...] = Field(default=(), max_length=100)
    """The memories that stood in the prompt, or that the answer quotes: each counts as used once more."""
    joined: bool = False
    """Came from a client that resends its history, and names its place itself: what is there already isn't kept again,
    and without a parent it is a beginning."""


class Resent(Message):
    """A message of a client's own history."""

    speaker: Speaker
    text: str


class JoinTurn(Message):
    """Asks where a turn belongs whose client knows of no conversations, and resends its history instead."""

    user_id: Id
    before: tuple[Resent, ...] = ()
    """The newest of what was said before, oldest first."""
    said: tuple[str, ...] = ()
    """What the user says now."""
    chat: str | None = Field(default=None, max_length=256)
    """What the client calls the conversation, where it may say so."""
    again: bool = False
    """Whether a first message that comes again within minutes is the same one."""
    read_after: Position | None = None


class Joined(Message):
    """``conversation_id`` None: nothing is known of it, and a conversation begins.

    ``parent_id`` None: the turn begins the conversation anew.
    """

    conversation_id: Id | None = None
    parent_id: Id | None = None


class ReadTurns(Message):
    """The newest messages on the path to ``parent_id`` (None: the conversation's newest), within ``max_messages``."""

    user_id: Id
    conversation_id: Id
    parent_id: Id | None = None
    max_messages: int = Field(default=40, ge=1, le=501)
    read_after: Position | None = None


class TurnMessage(Message):
    """A kept message, readable."""

    message_id: Id
    parent_id: Id | None
    speaker: str
    """``user``, ``assistant``, or the name that it was imported with."""
    text: str
    at: datetime
    partial: bool = False
    source_id: str | None = None
    """Of an imported one: the importer's id."""
    page: int | None = None
    """Of a document's passage."""
    turn_id: str | None = None
    """The turn in which it was said, by which an answer is rated. Of READ_CONVERSATION alone."""


class TurnMessages(Message):
    """Oldest first."""

    messages: tuple[TurnMessage, ...]


TURNS = JetStream(name="TURNS", max_bytes=1024 * MIB)

OPEN_TURN = Rpc(
    "mongars.v1.persistence.open_turn",
    OpenTurn,
    TurnKey,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
)
READ_TURNS = Rpc(
    "mongars.v1.persistence.read_turns",
    ReadTurns,
    TurnMessages,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
    max_bytes=16 * MIB,
    timeout_s=8.0,
)
JOIN_TURN = Rpc(
    "mongars.v1.persistence.join_turn",
    JoinTurn,
    Joined,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.COGNITION}),
    max_bytes=16 * MIB,
    timeout_s=8.0,
)
TURN_COMPLETED = Event(
    "mongars.v1.cognition.turn_completed",
    TurnCompleted,
    owner=Principal.COGNITION,
    stream=TURNS,
    consumers=(Consumer(name="apply_turns", service=Principal.PERSISTENCE, max_ack_pending=1, ack_wait_s=2.0),),
    max_bytes=16 * MIB,
)
