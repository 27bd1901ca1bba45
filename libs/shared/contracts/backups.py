"""Backups: the one moment of which a backup holds everything, and the list of those that exist.

Spoken by the ``mongars`` command and persistence; the database's contents go from PostgreSQL to the command by
``pg_dump`` on the snapshot that persistence exports, the keys of exactly those rows over the bus.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from libs.shared.contracts.base import MIB, Empty, Message, Principal, Rpc, Stream
from libs.shared.contracts.common import Id, Position

KEY_RECORD_BYTES = 80
"""In ``CutChunk.keys``: a slot (8 bytes, little-endian) and the sealed key in it (72)."""


class BackupState(StrEnum):
    """The life of a backup."""

    MAKING = "making"
    KEPT = "kept"
    FAILED = "failed"
    """It was never whole, and what there was of it is deleted."""
    DELETED = "deleted"


class Backup(Message):
    """A backup in the installation's list. Copies that somebody made of its file are not known."""

    backup_id: Id
    place: str = Field(max_length=4096)
    """The file, by its absolute path."""
    cut: Position
    """Every turn up to here is in it."""
    cut_at: datetime
    """Every turn that was answered before this moment is in it."""
    taken_at: datetime
    """When the database was looked at."""
    last_ordinal: int
    """Of the messages in it, the highest number."""
    scheduled: bool = False
    state: BackupState
    settled_at: datetime | None = None
    """When it was whole, failed, or deleted."""
    size_bytes: int = 0


class TakeCut(Message):
    """Asks for a cut: waits until all that lies in the stream is applied, and holds a snapshot while the call lasts.

    Raises ``not_yet_applied``, and ``overloaded`` while another cut is held.
    """

    backup_id: Id
    place: str = Field(min_length=1, max_length=4096)
    scheduled: bool = False
    wait_s: float = Field(default=60.0, gt=0, le=600)
    """Longest wait for what isn't applied."""


class Cut(Message):
    """What a backup holds."""

    position: Position
    at: datetime
    snapshot: str
    """For ``pg_dump --snapshot``; it lasts as long as the call."""
    schema_revision: str
    counts: dict[str, int]
    """Rows of each table."""
    keys: int
    """How many keys follow."""


class CutChunk(Message):
    """First the cut, then its keys, then now and then nothing, until the caller has its dump and leaves."""

    cut: Cut | None = None
    keys: bytes = b""
    """Records of ``KEY_RECORD_BYTES``; secret, though sealed."""
    complete: bool = False
    """All keys were sent."""


class SettleBackup(Message):
    """Says what became of a backup. Raises ``backup_not_found``."""

    backup_id: Id
    state: BackupState
    size_bytes: int = 0


class Backups(Message):
    """Newest first, deleted ones too."""

    backups: tuple[Backup, ...]


TAKE_CUT = Stream(
    "mongars.v1.persistence.take_cut",
    TakeCut,
    CutChunk,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.CLI}),
    first_timeout_s=660.0,
    idle_timeout_s=30.0,
)
SETTLE_BACKUP = Rpc(
    "mongars.v1.persistence.settle_backup",
    SettleBackup,
    Backup,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.CLI}),
)
LIST_BACKUPS = Rpc(
    "mongars.v1.persistence.list_backups",
    Empty,
    Backups,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.CLI}),
    max_bytes=8 * MIB,
)
