"""What the handlers share, made once by ``service.py``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from libs.shared.bus import Bus
from libs.shared.disk_room import DiskRoom
from services.persistence.applying import TurnApplier
from services.persistence.artefacts import Artefacts
from services.persistence.backup_list import BackupList
from services.persistence.conversation_owners import ConversationOwners
from services.persistence.deciding import Ledger
from services.persistence.fact_keys import FactKeys
from services.persistence.indexes import Indexes
from services.persistence.mirror import SettingsMirror
from services.persistence.outbox import Outbox
from services.persistence.postgres import Database
from services.persistence.sealing import KeyRing
from services.persistence.unused_keys import UnusedKeys
from services.persistence.watermark import Watermark


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def new_id() -> str:
    """A fresh identifier."""
    return uuid4().hex


@dataclass
class Indexing:
    """What is known of the other end of the index jobs."""

    last_vectors_at: datetime | None = None
    """When a job was last done with vectors: something embeds."""
    instead: str | None = None
    """The embedder that cognition last used in place of a user's own: that one isn't served any more."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Connections and the little state that this process holds; all of it can be rebuilt from disk."""

    bus: Bus
    database: Database
    keys: KeyRing
    unused_keys: UnusedKeys
    owners: ConversationOwners
    watermark: Watermark
    outbox: Outbox
    mirror: SettingsMirror
    applier: TurnApplier
    indexes: Indexes
    room: DiskRoom
    backups: BackupList
    artefacts: Artefacts
    ledger: Ledger
    journal: Path
    """Where forgettings are written down outside of the database."""
    fact_keys: FactKeys = field(default_factory=FactKeys)
    indexing: Indexing = field(default_factory=Indexing)
    forgetting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One forgetting at a time: a second look at the same rows would destroy slots that were given out again."""
    cutting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One backup's cut at a time."""
    clock: Callable[[], datetime] = utc_now
    new_id: Callable[[], str] = new_id
