"""Backups: the cut, and the list of those that exist."""

from __future__ import annotations

import asyncio

from libs.shared.contracts.backups import Backup, Backups, SettleBackup
from libs.shared.contracts.base import Empty
from services.persistence.parts import Parts


async def settle_backup(request: SettleBackup, parts: Parts) -> Backup:
    """It is whole, failed, or deleted."""
    return await asyncio.to_thread(parts.backups.settle, request, parts.clock())


async def list_backups(_: Empty, parts: Parts) -> Backups:
    """Newest first."""
    return Backups(backups=parts.backups.newest_first)
