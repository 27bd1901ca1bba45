"""Measuring what was trained before: what it is, what it hasn't learnt from, and its files, verified."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from libs.shared.artefacts.bringing import bring_file
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import (
    LIST_ADAPTERS,
    Manifest,
)
from libs.shared.contracts.base import Empty
from libs.shared.contracts.material import LIST_TRAINED, Chosen, ListTrained
from libs.shared.contracts.training import READ_RUN, Evaluated, RunKind, RunRef, StartRun, TrainingRun
from libs.shared.errors import AdapterNotFound, ArtefactCorrupt, RunNotFound
from libs.shared.layout import StateFolder
from services.trainer import examining, gathering
from services.trainer.curation import shelf
from services.trainer.curation.datasets import Dataset
from services.trainer.handing_in_encoders import name_of
from services.trainer.spec import ENCODER, EXAM, EvaluateSpec

SUBJECT, DATASET = "subject", "dataset"
"""Folders in a run's."""


async def resolved(bus: Bus, folder: StateFolder, request: StartRun) -> StartRun:
    """``request`` with the model, and the run of an encoder. Raises AdapterNotFound, ServiceError."""
    assert request.evaluate is not None
    subject = request.evaluate.subject
    manifest = await _manifest(bus, subject)
    run = await _run(bus, subject if manifest is None else str(manifest.configuration.get("run", "")))
    if manifest is not None and manifest.kind == "encoder":
        model, of = manifest.base.name, str(manifest.configuration.get("run", ""))
    elif manifest is not None:
        model, of = run.model if run is not None else manifest.base.name, None
    elif run is not None and (folder.training_runs / subject / ENCODER).is_dir():
        model, of = run.model, run.run_id
    elif run is not None and run.kind is not RunKind.EVALUATE and run.artefact is not None:
        named = request.model_copy(update={"evaluate": Evaluated(subject=run.artefact)})
        return await resolved(bus, folder, named)
    else:
        raise AdapterNotFound(f"{subject} is no adapter or encoder that is kept, and no run that made one")
    about = {"model": model, "evaluate": Evaluated(subject=subject, run=of)}
    return StartRun.model_validate(request.model_copy(update=about).model_dump())


async def gathered(bus: Bus, folder: StateFolder, run: TrainingRun) -> tuple[EvaluateSpec, Path | None]:
    """(what is measured, and on which exam where it is an encoder). Repeated harmlessly.

    Raises AdapterNotFound, ArtefactCorrupt, ServiceError.
    """
    assert run.evaluate is not None
    about, own = run.evaluate, folder.training_runs / run.run_id
    dataset, lacking = await unseen(bus, about, run.model)
    if about.run is not None:
        sts = folder.training_texts / run.sts if run.sts is not None else None
        examples = dataset.examples if dataset is not None else ()
        exam = await examining.prepared(bus, own / EXAM, examples, lacking, sts)
        return EvaluateSpec(name=about.subject, encoder=await _encoder(bus, folder, run, own / SUBJECT)), exam
    fetched = await fetch(bus, about.subject, own / SUBJECT)
    kept = await asyncio.to_thread(shelf.keep, dataset, own / DATASET) if dataset is not None else None
    return EvaluateSpec(name=about.subject, adapter=fetched, dataset=kept, lacking=lacking), None


async def _encoder(bus: Bus, folder: StateFolder, run: TrainingRun, aside: Path) -> Path:
    """The files that the installation keeps, or those that lie in the folder of its run alone."""
    assert run.evaluate is not None
    assert run.evaluate.run is not None
    name = name_of(run.model, run.evaluate.run)
    if await _manifest(bus, name) is not None:
        return await fetch(bus, name, aside)
    return folder.training_runs / run.evaluate.run / ENCODER


async def unseen(bus: Bus, about: Evaluated, model: str) -> tuple[Dataset | None, str]:
    """What may be used now of conversations that it learnt nothing from, and why there is none. Raises ServiceError."""
    name = about.subject if about.run is None else name_of(model, about.run)
    recorded = (await bus.request(LIST_TRAINED, ListTrained(adapters=(name,)))).adapters
    datasets = tuple(dict.fromkeys(one for record in recorded for one in record.datasets))
    return await gathering.measurable(bus, Chosen.ALLOWED, datasets)


async def fetch(bus: Bus, name: str, folder: Path) -> Path:
    """The adapter's files, each as it was signed. Raises AdapterNotFound, ArtefactCorrupt, ServiceError."""
    manifest = await _manifest(bus, name)
    if manifest is None:
        raise AdapterNotFound(f"there is no adapter {name} any more")
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
    for file in manifest.files:
        await bring_file(bus, name, file, folder / file.name)
    return folder


async def _manifest(bus: Bus, name: str) -> Manifest | None:
    """As persistence verified it. Raises ArtefactCorrupt for one whose manifest it refuses, ServiceError."""
    for one in (await bus.request(LIST_ADAPTERS, Empty())).adapters:
        if one.name == name:
            if one.manifest is None:
                raise ArtefactCorrupt(f"the manifest of {name} is refused ({one.code})")
            return one.manifest
    return None


async def _run(bus: Bus, run_id: str) -> TrainingRun | None:
    try:
        return await bus.request(READ_RUN, RunRef(run_id=run_id)) if run_id else None
    except (RunNotFound, ValueError):
        return None
