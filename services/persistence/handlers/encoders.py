"""Encoders that were trained, put to use: every memory is embedded with one, by a change of the ledger."""

from __future__ import annotations

from libs.shared.artefacts.encoders import accepted, embedder_of
from libs.shared.contracts.adapters import Manifest, ServeAdapter
from libs.shared.contracts.ledger import Change, ProposeChange
from libs.shared.errors import EncoderUnproven, InvalidRequest
from services.persistence.artefacts import EMBEDDER
from services.persistence.handlers import ledger
from services.persistence.parts import Parts
from services.persistence.repositories import ledger as rows
from services.persistence.repositories import runs, segments

USED_UNTIL_NOW = "used until now: what a roll-back comes back to"


async def use(manifest: Manifest, request: ServeAdapter, parts: Parts) -> Change:
    """Memories are embedded anew in the background; each user changes over once that is whole.

    Raises EncoderUnproven, InvalidRequest for a share of the conversations, AdapterMismatched.
    """
    if request.share != 1:
        raise InvalidRequest("an encoder embeds every memory: it can't be tried on a share of them", errors=["share"])
    if not request.despite_verdict and not await _proven(manifest, parts):
        raise EncoderUnproven(
            f"its last evaluation didn't find that {manifest.name} finds memories better: measure it (mongars train "
            f"evaluate {manifest.name}), or insist (mongars embedders use {manifest.name} --despite-verdict)"
        )
    if request.apply:
        await _write_down_what_is_used(request, parts)
    return await ledger.propose_change(
        ProposeChange(
            key=EMBEDDER,
            value=embedder_of(manifest),
            reason=request.reason,
            actor=request.actor,
            apply=request.apply,
        ),
        parts,
    )


async def _proven(manifest: Manifest, parts: Parts) -> bool:
    """By its own run's evaluation, or by the last that measured it anew."""
    async with parts.database.transaction() as session:
        measured = await runs.last_measured(session, str(manifest.configuration.get("run")))
    return accepted(manifest.metrics if measured is None else measured.metrics)


async def _write_down_what_is_used(request: ServeAdapter, parts: Parts) -> None:
    """Where no setting names an embedder, a roll-back would come back to none, and each memory keep the new vectors."""
    async with parts.database.transaction() as session:
        if await rows.read_setting(session, EMBEDDER) is not None:
            return
    async with parts.database.plainly() as driver:
        used = await segments.most_used(driver) or request.instead_of
    if used is not None:
        change = ProposeChange(key=EMBEDDER, value=used, reason=USED_UNTIL_NOW, actor=request.actor, apply=True)
        await ledger.propose_change(change, parts)
