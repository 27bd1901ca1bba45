"""Adapters that were trained: keeping them, giving them to nodes, putting them into service and out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from libs.shared.contracts.adapters import (
    ADAPTERS_CHANGED,
    AdapterPiece,
    Adapters,
    AdaptersChanged,
    KeepAdapter,
    ReadAdapterFile,
    RemoveAdapter,
    RollBackAdapter,
    RolledBack,
    ServeAdapter,
    SignedManifest,
)
from libs.shared.contracts.base import Empty
from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Canary, Change, Decision, ProposeChange, RuntimeSettings
from libs.shared.errors import AdapterInUse, AdapterTainted, ChangeConflict, ServiceError
from libs.shared.telemetry import get_logger
from services.persistence.artefacts import CANARY, PROMOTED, as_of_now, in_service, names, reference
from services.persistence.handlers import ledger
from services.persistence.ledger import settings_from
from services.persistence.parts import Parts
from services.persistence.repositories import ledger as rows

_KEYS = (*PROMOTED.values(), *CANARY.values())

log = get_logger(__name__)


async def keep_adapter(request: KeepAdapter, parts: Parts) -> SignedManifest:
    """Signs it; nodes hear of it."""
    signed = await parts.artefacts.keep(request.manifest)
    await _tell(request.manifest.name, parts)
    return signed


async def list_adapters(_: Empty, parts: Parts) -> Adapters:
    """All, with where each is in service, and who may use it."""
    settings, terms = await _in_force(parts), await parts.trained_terms()
    found = tuple(as_of_now(kept, settings, terms) for kept in await parts.artefacts.all())
    return Adapters(adapters=found, key=parts.artefacts.key, free_bytes=await parts.artefacts.free_bytes())


async def read_adapter_file(request: ReadAdapterFile, parts: Parts) -> AsyncIterator[AdapterPiece]:
    """One of its files."""
    async for data in parts.artefacts.read(request.adapter, request.sha256):
        yield AdapterPiece(data=data)


async def serve_adapter(request: ServeAdapter, parts: Parts) -> Change:
    """A change of the role's model, or of its canary."""
    name = reference(await parts.artefacts.manifest(request.adapter))
    terms = (await parts.trained_terms()).get(request.adapter)
    if terms is not None and terms.tainted and not request.despite_taint:
        raise AdapterTainted(f"what trained {request.adapter} was forgotten in part: train it anew")
    value: Any = name
    if request.share < 1:
        value = Canary(model=name, share=request.share).model_dump(mode="json")
    key = (PROMOTED if request.share == 1 else CANARY)[request.role]
    change = ProposeChange(key=key, value=value, reason=request.reason, actor=request.actor, apply=request.apply)
    return await ledger.propose_change(change, parts)


async def roll_back_adapter(request: RollBackAdapter, parts: Parts) -> RolledBack:
    """Until no setting names it any more: before it there may have been a smaller share of the same."""
    name = reference(await parts.artefacts.manifest(request.adapter))
    stamp = Stamp(actor=request.actor, at=parts.clock())
    changes: list[Change] = []
    async with parts.database.transaction() as session:
        await rows.lock_head(session)
        for key in _KEYS:
            while (row := await rows.read_setting(session, key)) is not None and names(row.value, name):
                change = await rows.find(session, row.change_id)
                changes.append(await ledger.decide_on(session, change, Decision.ROLL_BACK, stamp))
        if not changes:
            raise ChangeConflict(f"{request.adapter} is in no service", state="not_in_service")
    ledger.tell(parts)
    return RolledBack(changes=tuple(changes))


async def remove_adapter(request: RemoveAdapter, parts: Parts) -> Empty:
    """For good: what was trained with forgotten words has to go, too."""
    kept = next((one for one in await parts.artefacts.all() if one.name == request.adapter), None)
    if kept is not None and kept.manifest is not None and in_service(await _in_force(parts), reference(kept.manifest)):
        raise AdapterInUse(f"{request.adapter} is in service: roll that back first")
    await parts.artefacts.remove(request.adapter)
    await _tell(request.adapter, parts)
    return Empty()


async def _in_force(parts: Parts) -> RuntimeSettings:
    async with parts.database.transaction() as session:
        found = await rows.read_settings(session)
    return settings_from({row.key: row.value for row in found})[0]


async def _tell(adapter: str, parts: Parts) -> None:
    try:
        await parts.bus.broadcast(ADAPTERS_CHANGED, AdaptersChanged(adapter=adapter))
    except ServiceError as error:
        log.debug("adapters_untold", code=error.code)  # whoever holds a list reads it again by itself
