"""From an adapter that its evaluation accepted to one that the installation keeps; and what is left of its run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from libs.shared.artefacts.folders import files_of, fingerprint
from libs.shared.artefacts.keeping import keep_folder
from libs.shared.artefacts.naming import free_name, numbered
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import LIST_ADAPTERS, BaseModelOf, Manifest
from libs.shared.contracts.base import Empty
from libs.shared.contracts.common import JsonObject
from libs.shared.contracts.material import LIST_TRAINED, RECORD_ADAPTER, ListTrained, RecordAdapter
from libs.shared.contracts.training import AdapterWanted, TrainingRun
from libs.shared.errors import AdapterExists, MaterialWithdrawn
from services.trainer.curation import shelf
from services.trainer.curation.datasets import Card
from services.trainer.gathering import WITHDRAWN, refuse_withdrawn
from services.trainer.spec import RunSpec
from services.trainer.telling import Done

OTHER_NAMES = 99
"""That are looked at for a free one."""
DATASET = "dataset"
"""In a run's folder."""
PUBLIC = frozenset(
    {shelf.CARD_FILE, shelf.PAGE_FILE, "run.json", "evaluation.json", "loss.svg", "progress.jsonl", "lock"}
)
"""Files that stay when a run has ended: they quote nobody, and nothing can be learnt again from them."""


async def refuse_taken(bus: Bus, name: str, run_id: str | None = None) -> None:
    """Raises AdapterExists where another than the run's own is called so, or was: what was trained on people's words is
    recorded for good, and tells what becomes of them by that name. One that is free is named."""
    kept = (await bus.request(LIST_ADAPTERS, Empty())).adapters
    asked = (name, *numbered(name, OTHER_NAMES))
    all_recorded = (await bus.request(LIST_TRAINED, ListTrained(adapters=asked, limit=len(asked)))).adapters
    recorded = [one for one in all_recorded if one.adapter == name]
    foreign = any(one.datasets != (run_id,) for one in recorded)
    if foreign or (not recorded and any(one.name == name for one in kept)):
        taken = {one.name for one in kept} | {one.adapter for one in all_recorded}
        free = free_name(name, taken, OTHER_NAMES)
        raise AdapterExists(
            f"there is, or was, another adapter {name}, and what trained it is recorded for good: "
            f"choose another name{f', such as {free}' if free else ''}"
        )


async def already_kept(bus: Bus, run: TrainingRun) -> Done | None:
    """What an earlier life of the run had kept."""
    if run.adapter is None:
        return None
    for one in (await bus.request(LIST_ADAPTERS, Empty())).adapters:
        manifest = one.manifest
        if manifest is not None and one.name == run.adapter.name and manifest.configuration.get("run") == run.run_id:
            numbers = {name: float(value) for name, value in manifest.metrics.items() if name != "decision"}
            return Done(artefact=one.name, metrics=numbers, detail=str(manifest.metrics.get("decision", "")))
    return None


async def hand_in(bus: Bus, run: TrainingRun, spec: RunSpec, folder: Path, done: Done) -> Done:
    """The adapter is recorded as trained on its dataset, and then kept; its owners are those whose words trained it.

    Raises MaterialWithdrawn (somebody changed their mind while it was trained), AlreadyRecorded, AdapterExists,
    StorageFull, ServiceError. What was interrupted is simply repeated.
    """
    assert run.adapter is not None
    assert spec.adapter is not None
    assert done.artefact is not None
    dataset = await asyncio.to_thread(shelf.read, spec.adapter.dataset)
    await refuse_withdrawn(bus, run.adapter, dataset)
    record = RecordAdapter(adapter=run.adapter.name, datasets=(run.run_id,))
    recorded = await bus.request(RECORD_ADAPTER, record)
    if recorded.tainted:
        raise MaterialWithdrawn(WITHDRAWN)
    exported = folder / done.artefact
    manifest = Manifest(
        name=run.adapter.name,
        base=BaseModelOf(name=spec.adapter.base, fingerprint=await asyncio.to_thread(fingerprint, spec.model)),
        data_sha256=dataset.card.data,
        configuration=configured(run, dataset.card),
        metrics={**done.metrics, "decision": done.detail},
        files=await asyncio.to_thread(files_of, exported),
        created=datetime.now(UTC),
        owners=recorded.owners,
    )
    await keep_folder(bus, exported, manifest)
    return done.model_copy(update={"artefact": run.adapter.name})


def configured(run: TrainingRun, card: Card) -> JsonObject:
    """How it was made, for its manifest; nothing of it tells of anyone. Pure."""
    assert run.adapter is not None
    return {
        "run": run.run_id,
        "dataset": card.version,
        "examples": card.examples,
        "conversations": card.conversations,
        "seed": run.seed,
        **run.adapter.options.model_dump(mode="json"),
    }


def base_of(wanted: AdapterWanted, model: str) -> str:
    """The name under which the adapter's model is served. Pure."""
    return wanted.base or model


def clear(folder: Path) -> None:
    """Takes people's words, and the weights that learnt from them, out of the folder of a run that has ended: what is
    forgotten later must not lie here, and what is kept lies in the store."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name not in PUBLIC:
            path.unlink(missing_ok=True)
