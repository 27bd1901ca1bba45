"""The duty that looks how much room is left on the installation's disk."""

from __future__ import annotations

import asyncio
import shutil

from libs.shared.layout import StateFolder


async def free_space(folder: StateFolder) -> str:
    """How much is free, in MiB. Raises OSError."""
    usage = await asyncio.to_thread(shutil.disk_usage, folder.root)
    return f"{usage.free // 2**20} MiB free of {usage.total // 2**20}"
