"""A user's conversations as trees: the api asks, persistence keeps."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Page, Position
from libs.shared.contracts.turns import TurnMessage

_API = frozenset({Principal.API})


class Conversation(Message):
    """A conversation's heading."""

    conversation_id: Id
    title: str | None
    messages: int
    created_at: datetime
    updated_at: datetime


class Conversations(Message):
    """Most recently used first."""

    conversations: tuple[Conversation, ...]
    next_cursor: str | None = None


class ListConversations(Page):
    """One user's conversations."""

    user_id: Id
    read_after: Position | None = None


class ConversationRef(Message):
    """A conversation of a user. Raises ``conversation_not_found``, for another user's too."""

    user_id: Id
    conversation_id: Id
    read_after: Position | None = None


class ReadConversation(Page):
    """A page of a conversation's messages, oldest first, every branch (``parent_id`` tells the tree)."""

    user_id: Id
    conversation_id: Id
    read_after: Position | None = None


class ConversationRead(Message):
    """The heading with a page of messages."""

    conversation: Conversation
    messages: tuple[TurnMessage, ...]
    next_cursor: str | None = None


class RenameConversation(Message):
    """Sets the title, kept sealed."""

    user_id: Id
    conversation_id: Id
    title: str = Field(min_length=1, max_length=200)


class Forgotten(Message):
    """What went: its data keys are overwritten, and everything derived is removed."""

    messages: int
    data_keys: int


LIST_CONVERSATIONS = Rpc(
    "mongars.v1.persistence.list_conversations",
    ListConversations,
    Conversations,
    owner=Principal.PERSISTENCE,
    callers=_API,
)
READ_CONVERSATION = Rpc(
    "mongars.v1.persistence.read_conversation",
    ReadConversation,
    ConversationRead,
    owner=Principal.PERSISTENCE,
    callers=_API,
    max_bytes=64 * MIB,
)
RENAME_CONVERSATION = Rpc(
    "mongars.v1.persistence.rename_conversation",
    RenameConversation,
    Conversation,
    owner=Principal.PERSISTENCE,
    callers=_API,
)
DELETE_CONVERSATION = Rpc(
    "mongars.v1.persistence.delete_conversation",
    ConversationRef,
    Forgotten,
    owner=Principal.PERSISTENCE,
    callers=_API,
    timeout_s=30.0,
)
