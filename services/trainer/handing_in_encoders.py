"""From an encoder that was trained to one that the installation keeps, signed, for its nodes to fetch."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from libs.shared.artefacts.encoders import DESCRIPTION_FILE, FILES, WEIGHTS_FILE, refused, version_of
from libs.shared.artefacts.folders import fingerprint, sha256_of
from libs.shared.artefacts.keeping import keep_folder
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import MOST_FILE_BYTES, ArtefactFile, BaseModelOf, Manifest
from libs.shared.contracts.common import JsonObject
from libs.shared.contracts.material import RECORD_ADAPTER, RECORD_DATASET, Member, RecordAdapter, RecordDataset
from libs.shared.contracts.training import AdapterWanted, MntpOptions, TrainingRun
from libs.shared.durable import write_private
from libs.shared.errors import AdapterNotAllowed, MaterialWithdrawn, ModelBroken, StorageFull
from services.trainer.curation import shelf
from services.trainer.gathering import NOT_SHARED, WITHDRAWN, may_be_for_all, refuse_withdrawn
from services.trainer.spec import RunSpec
from services.trainer.telling import Done

LEAST_TOKENS, MOST_TOKENS = 16, 8192
"""Of a text that an embedder reads."""
_NAME_LENGTH = 48
_RUN_DIGITS = 8


async def hand_in(bus: Bus, run: TrainingRun, spec: RunSpec, folder: Path, done: Done) -> Done:
    """The encoder is kept under a name of its own, unless its evaluation refused it. What was interrupted is simply
    repeated.

    Raises AdapterExists, StorageFull, ModelBroken, and what ``record`` raises; its folder stays in the run's in either
    case.
    """
    if done.artefact is None or refused(done.metrics):
        return done.model_copy(update={"artefact": None})
    if spec.own is not None:
        await record(bus, run, spec.own)
    exported = folder / done.artefact
    manifest = await asyncio.to_thread(described, run, spec, exported, done)
    await keep_folder(bus, exported, manifest)
    return done.model_copy(update={"artefact": manifest.name})


async def record(bus: Bus, run: TrainingRun, own: Path) -> None:
    """That it was trained on the words of its dataset, before it is put to use.

    Raises MaterialWithdrawn, AdapterNotAllowed (somebody shares no longer), AlreadyRecorded, ServiceError.
    """
    dataset = await asyncio.to_thread(shelf.read, own)
    wanted = own_words(run)
    await refuse_withdrawn(bus, wanted, dataset)
    members = tuple(Member(turn_id=turn_id, version=version) for turn_id, version in dataset.members)
    if not may_be_for_all(await bus.request(RECORD_DATASET, RecordDataset(dataset_id=run.run_id, members=members))):
        raise AdapterNotAllowed(NOT_SHARED)
    recorded = await bus.request(RECORD_ADAPTER, RecordAdapter(adapter=wanted.name, datasets=(run.run_id,)))
    if recorded.tainted:
        raise MaterialWithdrawn(WITHDRAWN)


def own_words(run: TrainingRun) -> AdapterWanted:
    """What an encoder learns from beside its text, and under which name that is recorded. Pure."""
    return AdapterWanted(name=name_of(run.model, run.run_id))


def described(run: TrainingRun, spec: RunSpec, exported: Path, done: Done) -> Manifest:
    """Its manifest, once ``embedder.json`` lies beside its weights. Raises what ``hand_in`` does, OSError."""
    if (exported / WEIGHTS_FILE).is_file() and (exported / WEIGHTS_FILE).stat().st_size > MOST_FILE_BYTES:
        raise StorageFull(
            f"the encoder is larger than what the installation's store takes ({MOST_FILE_BYTES >> 20} MiB); add its "
            f"folder on each node: mongars embedders add {exported}"
        )
    about = description(_configuration(exported), spec.options)
    hashes = {name: sha256_of(exported / name) for name in FILES if name != DESCRIPTION_FILE}
    version = version_of(hashes, about)
    write_private(exported / DESCRIPTION_FILE, json.dumps(about | {"version": version}, indent=2).encode())
    files = tuple(
        ArtefactFile(name=name, size=(exported / name).stat().st_size, sha256=sha256_of(exported / name))
        for name in FILES
    )
    return Manifest(
        name=name_of(run.model, run.run_id),
        kind="encoder",
        base=BaseModelOf(name=run.model, fingerprint=fingerprint(spec.model)),
        data_sha256=data_of(spec),
        configuration=configured(run, about | {"version": version}),
        metrics=done.metrics | ({"decision": done.detail} if done.detail else {}),
        files=files,
        created=datetime.now(UTC),
    )


def data_of(spec: RunSpec) -> str | None:
    """SHA-256 of its text, or of its dataset where it learnt from people's words alone; of both, of the two. Raises
    OSError, DatasetBroken."""
    text = sha256_of(spec.text) if spec.text is not None else None
    own = shelf.read(spec.own).card.data if spec.own is not None else None
    if text is None or own is None:
        return text or own
    return hashlib.sha256(f"{text} {own}".encode()).hexdigest()


def name_of(model: str, run_id: str) -> str:
    """Under which it is kept and embeds: the model's, and what tells its runs apart. Pure."""
    return f"{model[:_NAME_LENGTH]}-{run_id[-_RUN_DIGITS:]}"


def description(config: dict[str, Any], options: MntpOptions) -> dict[str, Any]:
    """How texts become vectors: as in training, by the mean of their tokens, and no longer than those it was trained
    on. Pure."""
    places = int(config.get("max_position_embeddings", MOST_TOKENS))
    longest = max(options.block_tokens, options.sentence_tokens)
    return {
        "pooling": "mean",
        "normalise": True,
        "max_tokens": max(LEAST_TOKENS, min(longest, places, MOST_TOKENS)),
        "dimensions": int(config["hidden_size"]),
    }


def configured(run: TrainingRun, about: dict[str, Any]) -> JsonObject:
    """How it was made, for its manifest. Pure."""
    told = {name: about[name] for name in ("version", "dimensions", "max_tokens")}
    return {"run": run.run_id, "seed": run.seed, **told, **run.options.model_dump(mode="json")}


def _configuration(exported: Path) -> dict[str, Any]:
    missing = [name for name in FILES if name != DESCRIPTION_FILE and not (exported / name).is_file()]
    if missing:
        raise ModelBroken(f"the encoder can't be kept: its folder lacks {', '.join(missing)}")
    try:
        found = dict(json.loads((exported / "config.json").read_bytes()))
        int(found["hidden_size"])
    except (ValueError, TypeError, LookupError) as error:
        raise ModelBroken("the encoder can't be kept: its config.json can't be read") from error
    return found
