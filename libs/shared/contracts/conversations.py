"""A user's conversations as trees: the api asks, persistence keeps."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Page, Position
from libs.shared.contracts.forgetting import Receipt
from libs.shared.contracts.turns import TurnMessage

_API = frozenset({Principal.API})
ConversationName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A conversation's id, or the one that its importer gave it."""


class Conversation(Message):
    """A conversation's heading."""

    conversation_id: Id
    title: str | None
    messages: int
    remembered: bool = True
    """False: its turns are kept, and neither recalled elsewhere nor drawn on."""
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
    conversation_id: ConversationName
    read_after: Position | None = None


class ReadConversation(Page):
    """A page of a conversation's messages, oldest first, every branch (``parent_id`` tells the tree); or of a
    document's passages, in their order."""

    user_id: Id
    conversation_id: ConversationName
    read_after: Position | None = None


class ConversationRead(Message):
    """The heading with a page of messages."""

    conversation: Conversation
    messages: tuple[TurnMessage, ...]
    next_cursor: str | None = None


class ChangeConversation(Message):
    """Sets what is given: the title (kept sealed), and whether it is remembered."""

    user_id: Id
    conversation_id: ConversationName
    title: str | None = Field(default=None, min_length=1, max_length=200)
    remembered: bool | None = None


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
CHANGE_CONVERSATION = Rpc(
    "mongars.v1.persistence.change_conversation",
    ChangeConversation,
    Conversation,
    owner=Principal.PERSISTENCE,
    callers=_API,
)
DELETE_CONVERSATION = Rpc(
    "mongars.v1.persistence.delete_conversation",
    ConversationRef,
    Receipt,
    owner=Principal.PERSISTENCE,
    callers=_API,
    timeout_s=60.0,
)
