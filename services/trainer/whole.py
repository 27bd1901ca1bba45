"""Folders that are whole or not there: written aside, synced, and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from libs.shared.durable import sync_folder

OWNER_ALONE = 0o700
FILE_OF_OWNER = 0o600


def put_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """``folder`` with ``files`` (name → content), from one moment to the next, also after a power cut; only its owner
    may look into it. What lies under its name is replaced, and in between there is nothing there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A folder that begins with a dot is no dataset and no adapter to whoever looks meanwhile.
    aside, before = (folder.with_name(f".{folder.name}.{word}") for word in ("partial", "before"))
    for left in (aside, before):
        shutil.rmtree(left, ignore_errors=True)
    aside.mkdir(mode=OWNER_ALONE)
    for name, content in files.items():
        (aside / name).touch(FILE_OF_OWNER)
        with (aside / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(aside)
    if folder.exists():
        folder.rename(before)
    aside.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(before, ignore_errors=True)
