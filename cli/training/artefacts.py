"""Adapters in the running installation: bringing one from a folder, and what there is."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cli.errors import CommandError, Exit
from cli.models import shelf
from libs.shared.artefacts.folders import files_of, fingerprint, named_base
from libs.shared.artefacts.standing import Standing, standing
from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import READ_USER, UserRef
from libs.shared.contracts.adapters import LIST_ADAPTERS, BaseModelOf, Manifest
from libs.shared.contracts.base import Empty
from libs.shared.contracts.scheduling import LIST_NODES
from libs.shared.errors import InvalidRequest, ServiceError


def actor() -> str:
    """Who the ledger says did it."""
    return f"mongars:{getpass.getuser()}"


async def described(
    bus: Bus, folder: Path, models: Path, *, name: str | None, base: str | None, metrics: Path | None, users: list[str]
) -> Manifest:
    """The manifest of an adapter's folder. Raises CommandError, ServiceError."""
    try:
        files = await asyncio.to_thread(files_of, folder)
        model = base or await asyncio.to_thread(named_base, folder)
        if model is None:
            raise CommandError(f"{folder} doesn't say which model it is for", "say it: --base MODEL", code=Exit.USAGE)
        print_of = await asyncio.to_thread(_fingerprint, models, model)
        owners = tuple([(await bus.request(READ_USER, UserRef(name=user))).user_id for user in users]) or None
        return Manifest(
            name=name or folder.name,
            base=BaseModelOf(name=model, fingerprint=print_of),
            metrics=_metrics(metrics),
            files=files,
            created=datetime.now(UTC),
            owners=owners,
        )
    except InvalidRequest as error:
        raise CommandError(error.detail, "a folder as peft or llama.cpp writes it", code=Exit.REFUSED) from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise CommandError(f"the adapter can't be called or described so ({where})", "--name NAME") from None
    except OSError as error:
        raise CommandError(f"{folder} can't be read: {error.strerror}", "is it a folder?") from None


async def all_of(bus: Bus) -> Sequence[Standing]:
    """By name. Raises ServiceError."""
    told = await bus.request(LIST_ADAPTERS, Empty())
    try:
        nodes = (await bus.request(LIST_NODES, Empty())).nodes
    except ServiceError:
        nodes = ()
    return [standing(kept, nodes) for kept in told.adapters]


def _fingerprint(models: Path, name: str) -> str | None:
    """None where this machine doesn't have the model."""
    if (models / name / "config.json").is_file():
        return fingerprint(models / name)
    found = next((model for model in shelf.present(models) if model.name == name), None)
    return fingerprint(found.file) if found is not None else None


def _metrics(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise CommandError(f"{path} is no JSON object", code=Exit.USAGE)
    return told
