"""Recording what is trained on whose words, and telling how adapters stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libs.shared.contracts.material import (
    CountMaterial,
    DatasetRecorded,
    ListTrained,
    MaterialCounted,
    RecordAdapter,
    RecordDataset,
    Taint,
    Trained,
    TrainedAdapter,
)
from libs.shared.errors import AlreadyRecorded, DatasetNotFound, MaterialWithdrawn
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.parts import Parts
from services.persistence.repositories import material, trained
from services.persistence.repositories.trained import Recorded, Standing, Tainted

_NAMED = 1000
"""Turns that a refusal names."""
_MOST_ADAPTERS = 100_000


async def count_material(request: CountMaterial, parts: Parts) -> MaterialCounted:
    """How much may be trained on."""
    async with parts.database.plainly() as driver:
        exchanges, since_then, conversations = await material.count(driver, request.since)
    return MaterialCounted(exchanges=exchanges, since_then=since_then, conversations=conversations)


async def record_dataset(request: RecordDataset, parts: Parts) -> DatasetRecorded:
    """Keeps what a dataset was drawn from. Raises MaterialWithdrawn, AlreadyRecorded."""
    versions = {member.turn_id: member.version for member in request.members}
    async with parts.database.writing() as driver:
        known = await trained.is_drawn_from(driver, parts.keys, request.dataset_id, versions)
        if known is None:
            await _record(driver, request.dataset_id, versions, parts)
        elif not known:
            raise AlreadyRecorded("a dataset of that id was drawn from other turns")
        (standing,) = await trained.standing(driver, [request.dataset_id])
        everybody = await trained.is_everybody(driver, request.dataset_id)
    return DatasetRecorded(
        dataset_id=request.dataset_id, owners=standing.owners, shared=standing.shared, everybody=everybody
    )


async def _record(driver: Any, dataset_id: str, versions: dict[str, int], parts: Parts) -> None:
    """With its owners held: what they allow is looked at after whoever changes it now has finished, or before."""
    await trained.hold_owners(driver, await trained.owners_of(driver, list(versions)))
    turns = await trained.recordable(driver, versions)
    if len(turns) != len(versions):
        gone = sorted(versions.keys() - {turn.turn_id for turn in turns})
        raise MaterialWithdrawn(
            f"{len(gone)} of the turns were forgotten, edited or withdrawn since: make the dataset anew",
            turn_ids=gone[:_NAMED],
        )
    if not await trained.add_dataset(driver, parts.keys, dataset_id, turns, parts.clock()):
        raise AlreadyRecorded("the dataset is being recorded by another")


async def record_adapter(request: RecordAdapter, parts: Parts) -> TrainedAdapter:
    """Keeps what an adapter was trained on. Raises DatasetNotFound, AlreadyRecorded."""
    datasets = sorted(set(request.datasets))
    async with parts.database.writing() as driver:
        if await trained.hold_datasets(driver, datasets) != datasets:
            raise DatasetNotFound("there is no record of a dataset that it was trained on")
        if (before := await trained.datasets_of(driver, request.adapter)) not in ([], datasets):
            raise AlreadyRecorded("an adapter of that name was trained on something else", datasets=before)
        await trained.add_adapter(driver, request.adapter, datasets, parts.clock())
        (recorded,) = await trained.adapters(driver, [request.adapter], None, None, 1, tainted=False)
        (told,) = await _told(driver, [recorded])
    return told


async def list_trained(request: ListTrained, parts: Parts) -> Trained:
    """A page of the adapters that were trained on people's words."""
    (after,) = decode_cursor(request.cursor, str) if request.cursor else (None,)
    async with parts.database.plainly() as driver:
        found = await trained.adapters(
            driver, request.adapters, request.owner, after, request.limit + 1, tainted=request.tainted
        )
        shown = found[: request.limit]
        told = await _told(driver, shown)
    cursor = encode_cursor(shown[-1].adapter) if len(found) > len(shown) else None
    return Trained(adapters=told, next_cursor=cursor)


async def standings(parts: Parts, names: Sequence[str] = ()) -> dict[str, TrainedAdapter]:
    """How those that were trained on people's words stand now, by name; of ``names`` alone where there are any."""
    async with parts.database.plainly() as driver:
        found = await trained.adapters(driver, names, None, None, _MOST_ADAPTERS, tainted=False)
        told = await _told(driver, found)
    return {one.adapter: one for one in told}


async def _told(driver: Any, recorded: Sequence[Recorded]) -> tuple[TrainedAdapter, ...]:
    ids = sorted({dataset for one in recorded for dataset in one.datasets})
    standings = {standing.dataset_id: standing for standing in await trained.standing(driver, ids)}
    taints = await trained.taints_of(driver, ids)
    return tuple(how_it_stands(one, [standings[dataset] for dataset in one.datasets], taints) for one in recorded)


def how_it_stands(recorded: Recorded, on: Sequence[Standing], taints: Sequence[Tainted]) -> TrainedAdapter:
    """The adapter as it stands, by its datasets (``taints`` of these and of others). Pure."""
    return TrainedAdapter(
        adapter=recorded.adapter,
        datasets=recorded.datasets,
        owners=tuple(sorted({owner for dataset in on for owner in dataset.owners})),
        shared=all(dataset.shared for dataset in on),
        taints=tuple(
            Taint(cause=taint.cause, exchanges=taint.exchanges, at=taint.at)
            for taint in taints
            if taint.dataset_id in recorded.datasets
        ),
        recorded_at=recorded.recorded_at,
    )
