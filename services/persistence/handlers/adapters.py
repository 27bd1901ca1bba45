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
    KeptAdapter,
    ReadAdapterFile,
    RemoveAdapter,
    RollBackAdapter,
    RolledBack,
    ServeAdapter,
    SignedManifest,
)
from libs.shared.contracts.base import Empty
from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, Decision, ProposeChange
from libs.shared.contracts.material import TrainedAdapter
from libs.shared.contracts.runtime_settings import Canary, RuntimeSettings
from libs.shared.errors import AdapterInUse, AdapterTainted, ChangeConflict, ServiceError
from libs.shared.telemetry import get_logger
from services.persistence.artefacts import CANARY, PROMOTED, in_service, keys_of, names, reference
from services.persistence.deciding import Said
from services.persistence.handlers import encoders, ledger
from services.persistence.handlers.trained import standings
from services.persistence.ledger import settings_from
from services.persistence.parts import Parts
from services.persistence.repositories import ledger as rows

log = get_logger(__name__)


async def keep_adapter(request: KeepAdapter, parts: Parts) -> SignedManifest:
    """Signs it; nodes hear of it."""
    signed = await parts.artefacts.keep(request.manifest)
    await tell_of(request.manifest.name, parts)
    return signed


async def list_adapters(_: Empty, parts: Parts) -> Adapters:
    """All, with where each is in service, what it stands for now, and whose it is now."""
    settings, trained = await _in_force(parts), await standings(parts)
    found = []
    for kept in await parts.artefacts.all():
        served = in_service(settings, kept.manifest) if kept.manifest is not None else ()
        about = trained.get(kept.name)
        found.append(
            kept.model_copy(
                update={
                    "in_service": served,
                    "tainted": about is not None and about.tainted,
                    "owners": owners_now(kept, about),
                }
            )
        )
    free = await parts.artefacts.free_bytes()
    return Adapters(adapters=tuple(found), key=parts.artefacts.key, free_bytes=free)


async def read_adapter_file(request: ReadAdapterFile, parts: Parts) -> AsyncIterator[AdapterPiece]:
    """One of its files."""
    async for data in parts.artefacts.read(request.adapter, request.sha256):
        yield AdapterPiece(data=data)


async def serve_adapter(request: ServeAdapter, parts: Parts) -> Change:
    """A change of the role's model, or of its canary; of an encoder, of the embedder."""
    manifest = await parts.artefacts.manifest(request.adapter)
    about = (await standings(parts, [request.adapter])).get(request.adapter)
    if about is not None and about.tainted and not request.despite_taint:
        raise AdapterTainted(f"what trained {request.adapter} was forgotten in part: train it anew")
    if manifest.kind == "encoder":
        return await encoders.use(manifest, request, parts)
    name = reference(manifest)
    value: Any = name
    if request.share < 1:
        value = Canary(model=name, share=request.share).model_dump(mode="json")
    key = (PROMOTED if request.share == 1 else CANARY)[request.role]
    change = ProposeChange(key=key, value=value, reason=request.reason, actor=request.actor, apply=request.apply)
    return await ledger.propose_change(change, parts)


async def roll_back_adapter(request: RollBackAdapter, parts: Parts) -> RolledBack:
    """Until no setting names it any more: before it there may have been a smaller share of the same."""
    manifest = await parts.artefacts.manifest(request.adapter)
    name = reference(manifest)
    stamp = Stamp(actor=request.actor, at=parts.clock())
    changes: list[Change] = []
    async with parts.database.transaction() as session:
        await rows.lock_head(session)
        for key in keys_of(manifest):
            while (row := await rows.read_setting(session, key)) is not None and names(row.value, name):
                change = await rows.find(session, row.change_id)
                changes.append(await parts.ledger.decide(session, change, Decision.ROLL_BACK, Said(stamp)))
        if not changes:
            raise ChangeConflict(f"{request.adapter} is in no service", state="not_in_service")
    ledger.tell(parts)
    return RolledBack(changes=tuple(changes))


async def remove_adapter(request: RemoveAdapter, parts: Parts) -> Empty:
    """For good: what was trained with forgotten words has to go, too."""
    kept = next((one for one in await parts.artefacts.all() if one.name == request.adapter), None)
    if kept is not None and kept.manifest is not None and in_service(await _in_force(parts), kept.manifest):
        raise AdapterInUse(f"{request.adapter} is in service: roll that back first")
    await parts.artefacts.remove(request.adapter)
    await tell_of(request.adapter, parts)
    return Empty()


def owners_now(kept: KeptAdapter, about: TrainedAdapter | None) -> tuple[str, ...] | None:
    """Who may use it: by the record of those whose words trained it where there is one, else by its manifest, and
    nobody where that can't be trusted; None: everybody. Pure."""
    if about is not None:
        return None if about.shared else about.owners
    return kept.manifest.owners if kept.manifest is not None else ()


async def _in_force(parts: Parts) -> RuntimeSettings:
    async with parts.database.transaction() as session:
        found = await rows.read_settings(session)
    return settings_from({row.key: row.value for row in found})[0]


async def tell_of(adapter: str, parts: Parts) -> None:
    """Whoever holds a list of them asks again."""
    try:
        await parts.bus.broadcast(ADAPTERS_CHANGED, AdaptersChanged(adapter=adapter))
    except ServiceError as error:
        log.debug("adapters_untold", code=error.code)  # whoever holds a list reads it again by itself
