"""Every table of the database, by aggregate."""

from __future__ import annotations

from services.persistence.tables.accounts import ApiKeyRow, KeyMappingRow, RefreshFamilyRow, RefreshTokenRow, UserRow
from services.persistence.tables.base import Base
from services.persistence.tables.conversations import (
    AppliedPositionRow,
    ConversationRow,
    MessageRow,
    QuarantinedMessageRow,
    TurnRow,
    WatermarkRow,
)
from services.persistence.tables.digests import DigestGenerationRow, DigestRow
from services.persistence.tables.index import MemberRow, SegmentRow
from services.persistence.tables.ledger import ChangeRow, ChangeStepRow, LedgerHeadRow, SettingRow, TrialRow
from services.persistence.tables.memories import FactRow, FactSourceRow, MemoryStateRow, ReceiptRow
from services.persistence.tables.runs import TrainingRunRow
from services.persistence.tables.training import (
    ConsentRow,
    DatasetMemberRow,
    DatasetOwnerRow,
    DatasetRow,
    RatingRow,
    TaintRow,
    TrainedAdapterRow,
    TrainingChoiceRow,
)
from services.persistence.tables.work import ForgettingRow, JobRow, OutboxRow, TombstoneRow

SCHEMA_REVISION = "0008"
"""The migration that these tables stand for; a test holds it to the head of the chain."""

__all__ = [
    "SCHEMA_REVISION",
    "ApiKeyRow",
    "AppliedPositionRow",
    "Base",
    "ChangeRow",
    "ChangeStepRow",
    "ConsentRow",
    "ConversationRow",
    "DatasetMemberRow",
    "DatasetOwnerRow",
    "DatasetRow",
    "DigestGenerationRow",
    "DigestRow",
    "FactRow",
    "FactSourceRow",
    "ForgettingRow",
    "JobRow",
    "KeyMappingRow",
    "LedgerHeadRow",
    "MemberRow",
    "MemoryStateRow",
    "MessageRow",
    "OutboxRow",
    "QuarantinedMessageRow",
    "RatingRow",
    "ReceiptRow",
    "RefreshFamilyRow",
    "RefreshTokenRow",
    "SegmentRow",
    "SettingRow",
    "TaintRow",
    "TombstoneRow",
    "TrainedAdapterRow",
    "TrainingChoiceRow",
    "TrainingRunRow",
    "TrialRow",
    "TurnRow",
    "UserRow",
    "WatermarkRow",
]
