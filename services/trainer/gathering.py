"""What an adapter is trained on: read from persistence, curated, kept in the run's folder, and recorded with
persistence before anything learns from it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts import material as contracts
from libs.shared.contracts.material import (
    RECORD_DATASET,
    TRAINING_MATERIAL,
    Chosen,
    DatasetRecorded,
    Member,
    RecordDataset,
    TrainingMaterial,
)
from libs.shared.contracts.ratings import Thumb
from libs.shared.contracts.training import AdapterWanted
from libs.shared.errors import AdapterNotAllowed, DatasetBroken, InvalidRequest, MaterialWithdrawn, NothingToTrainOn
from services.trainer.curation import shelf
from services.trainer.curation.datasets import Dataset, curate
from services.trainer.curation.exchanges import Exchange
from services.trainer.curation.splitting import LEAST_HELD_OUT

MOST_READINGS = 5
"""So often material is read anew when somebody changes their mind between its reading and its record."""
RATING = {Thumb.UP: 1, Thumb.DOWN: -1, None: 0}
NOT_SHARED = (
    "an encoder embeds everybody's memories, and not each whose words it was to learn from shares what is trained on "
    "them: each of them can, with mongars consents share on"
)
WITHDRAWN = "of what the adapter was to learn from something was forgotten, edited or withdrawn meanwhile: train anew"


async def wanted_by(bus: Bus, wanted: AdapterWanted) -> list[Exchange]:
    """All that an adapter may be trained on now. Raises ServiceError."""
    return await read(bus, Chosen.RATED_UP if wanted.rated_up else Chosen.ALLOWED, wanted.owners)


async def read(
    bus: Bus, chosen: Chosen, owners: tuple[str, ...] = (), unseen_by: tuple[str, ...] = ()
) -> list[Exchange]:
    """All that may be trained on now, of these owners alone where there are any, without the conversations of those
    datasets. Raises ServiceError."""
    asked = TrainingMaterial(owners=owners, chosen=chosen, unseen_by=unseen_by)
    async with bus.stream(TRAINING_MATERIAL, asked) as chunks:
        return [exchange(one) async for chunk in chunks for one in chunk.exchanges]


def exchange(given: contracts.Exchange) -> Exchange:
    """As curation has it. Pure."""
    return Exchange(
        question=given.question,
        answer=given.answer,
        conversation_id=given.conversation_id,
        turn_id=given.turn_id,
        owner_id=given.owner,
        at=given.at,
        rating=RATING[given.rating],
        partial=given.partial,
        quoted=given.quoted,
        version=given.version,
        names=(given.owner_name,),
    )


async def curated(bus: Bus, wanted: AdapterWanted) -> Dataset:
    """The dataset of what may be trained on now. Raises NothingToTrainOn, ServiceError."""
    return await asyncio.to_thread(chosen_of, await wanted_by(bus, wanted))


def chosen_of(exchanges: list[Exchange]) -> Dataset:
    """The dataset of ``exchanges``, with enough held out for an evaluation. Raises NothingToTrainOn. Pure."""
    if not exchanges:
        raise NothingToTrainOn(
            "nothing that was said may be trained on: whoever said it can allow it, with mongars consents allow"
        )
    try:
        dataset = curate(exchanges)
    except InvalidRequest as error:
        left_out = dict(error.data.get("left_out", {}))
        raise NothingToTrainOn(f"{error.detail}{in_words(left_out)}", left_out=left_out) from None
    card = dataset.card
    if card.conversations["held_out"] < LEAST_HELD_OUT:
        raise NothingToTrainOn(
            f"{sum(card.conversations.values())} conversations are too few: {2 * LEAST_HELD_OUT} are needed, more than "
            f"half of them to measure whether the adapter helps; rate or allow more{in_words(card.left_out)}",
            left_out=card.left_out,
        )
    return dataset


async def measurable(bus: Bus, chosen: Chosen, unseen_by: tuple[str, ...] = ()) -> tuple[Dataset | None, str]:
    """(what something can be measured on that learnt from none of it, why there is none). Raises ServiceError."""
    exchanges = await read(bus, chosen, unseen_by=unseen_by)
    if not exchanges:
        return None, "nothing that was said may be used" + (", but what trained it" if unseen_by else "")
    try:
        return await asyncio.to_thread(curate, exchanges), ""
    except InvalidRequest as error:
        return None, f"of what was said nothing can be used{in_words(dict(error.data.get('left_out', {})))}"


def in_words(left_out: dict[str, int]) -> str:
    """Why exchanges were left out, and how many. Pure."""
    told = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in sorted(left_out.items()))
    return f" (left out: {told})" if told else ""


async def drawn(bus: Bus, run_id: str, wanted: AdapterWanted, root: Path, *, for_all: bool = False) -> Path:
    """The folder of the run's dataset in ``root``, recorded; that of an earlier life of the run, if it had one.
    ``for_all``: what comes of it is used for everybody.

    Raises NothingToTrainOn, MaterialWithdrawn, AdapterNotAllowed, ServiceError.
    """
    readings = 0
    while True:
        before = await asyncio.to_thread(kept, root)
        dataset = before or await curated(bus, wanted)
        folder = await asyncio.to_thread(shelf.keep, dataset, root)
        members = tuple(Member(turn_id=turn_id, version=version) for turn_id, version in dataset.members)
        try:
            recorded = await bus.request(RECORD_DATASET, RecordDataset(dataset_id=run_id, members=members))
        except MaterialWithdrawn:
            await asyncio.to_thread(shutil.rmtree, root)
            readings += before is None
            if readings >= MOST_READINGS:
                raise
        else:
            if for_all and not may_be_for_all(recorded):
                await asyncio.to_thread(shutil.rmtree, root)
                raise AdapterNotAllowed(NOT_SHARED)
            if before is not None:
                await refuse_withdrawn(bus, wanted, dataset)
            return folder


def may_be_for_all(recorded: DatasetRecorded) -> bool:
    """Whether each whose words it holds shares what is trained on them, or there is nobody else. Pure."""
    return recorded.shared or recorded.everybody


async def refuse_withdrawn(bus: Bus, wanted: AdapterWanted, dataset: Dataset) -> None:
    """Raises MaterialWithdrawn where something of the dataset may no longer be trained on."""
    now = {(one.turn_id, one.version) for one in await wanted_by(bus, wanted)}
    if not now.issuperset(dataset.members):
        raise MaterialWithdrawn(WITHDRAWN)


def kept(root: Path) -> Dataset | None:
    """The dataset in ``root``; what can't be read any more is taken away."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        try:
            return shelf.read(folder)
        except DatasetBroken:
            shutil.rmtree(folder)
    return None
