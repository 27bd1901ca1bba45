"""Adapters out of a backup: put into the store at the first start after a restore, as they were signed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from pydantic import ValidationError

from libs.shared.contracts.adapters import SignedManifest
from libs.shared.errors import AdapterExists, ServiceError
from libs.shared.telemetry import get_logger
from services.persistence.handlers.adapters import tell_of
from services.persistence.parts import Parts

RETRY_S = (1.0, 5.0, 30.0, 300.0)

log = get_logger(__name__)


async def run(parts: Parts, folder: Path) -> None:
    """Until all are in the store and the folder is gone, or cancelled. A store that is full may be made room in."""
    attempt = 0
    while await asyncio.to_thread(folder.is_dir):
        try:
            await bring_in(parts, folder)
        except (ServiceError, OSError) as error:
            log.warning("restored_adapters_wait", reason=getattr(error, "code", type(error).__name__))
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1


async def bring_in(parts: Parts, folder: Path) -> int:
    """How many were put into the store; one that can't be trusted, or whose name is taken, is left out for good.

    What was interrupted is simply repeated. Raises ServiceError, OSError; the folder stays then.
    """
    brought = 0
    for path in await asyncio.to_thread(_manifests, folder):
        try:
            signed = SignedManifest.model_validate_json(await asyncio.to_thread(path.read_bytes))
            await parts.artefacts.put_back(signed, folder / "files")
        except (ValidationError, AdapterExists) as error:
            log.warning("restored_adapter_left_out", reason=type(error).__name__)
        except ServiceError as error:
            if error.status >= 500:
                raise
            log.warning("restored_adapter_left_out", reason=error.code)
        else:
            brought += 1
            await tell_of(path.name, parts)
    await asyncio.to_thread(shutil.rmtree, folder)
    log.info("restored_adapters", adapters=brought)
    return brought


def _manifests(folder: Path) -> list[Path]:
    found = folder / "manifests"
    return sorted(found.iterdir()) if found.is_dir() else []
