"""What a forgetting took, signed, so that it can be shown later: persistence writes it, the api hands it out."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from libs.shared.contracts.base import Message, Principal, Rpc
from libs.shared.contracts.common import AdapterName, Id, Page

Scope = Literal["memory", "fact", "conversation", "document", "everything", "account"]


class Removed(Message):
    """How many of each kind went."""

    data_keys: int = 0
    """Keys overwritten in the slot file: without them the sealed bytes that disks still hold mean nothing."""
    messages: int = 0
    """Turns' messages, notes and passages."""
    conversations: int = 0
    facts: int = 0
    vectors: int = 0
    terms: int = 0
    """Memories whose terms were taken out of the index."""
    index_segments: int = 0
    """Sealed pieces of the index that were written anew under a fresh key; the old key is overwritten."""
    jobs: int = 0
    stream_messages: int = 0
    quarantined: int = 0


class Receipt(Message):
    """Signed with Ed25519 over its canonical JSON (sorted keys, no spaces) without ``signature``."""

    receipt_id: Id
    scope: Scope
    subject_id: Id
    """What was forgotten: a memory, a fact, a conversation, a document, or the user."""
    at: datetime
    removed: Removed
    pending: tuple[str, ...] = ()
    """What is still being repeated, such as ``stream_messages``; the keys are gone already."""
    backups: tuple[str, ...] = ()
    """Backups that still hold it."""
    tainted_adapters: tuple[AdapterName, ...] = Field(default=(), exclude_if=lambda adapters: not adapters)
    """Adapters that were trained on it. Left out where there are none, so that older receipts verify as they did."""
    key: str
    """The installation's verifying key, base64."""
    signature: str


class ListReceipts(Page):
    """A user's receipts, newest first."""

    user_id: Id


class BackupNow(Message):
    """How it stands now with a backup that a receipt names; receipts themselves never change."""

    backup_id: Id
    at: datetime
    """Every turn that was answered before is in it."""
    state: str
    """``making``, ``kept``, ``failed`` or ``deleted``."""
    settled_at: datetime | None = None
    """When it was whole, failed, or deleted."""


class Receipts(Message):
    """A page."""

    receipts: tuple[Receipt, ...]
    backups: tuple[BackupNow, ...] = ()
    """Those that the page's receipts name."""
    next_cursor: str | None = None


LIST_RECEIPTS = Rpc(
    "mongars.v1.persistence.list_receipts",
    ListReceipts,
    Receipts,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API}),
)
