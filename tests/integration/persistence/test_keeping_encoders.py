"""Encoders are kept like adapters, and put to use for every memory through the ledger, once they were found to help."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.adapters import (
    ARTEFACTS,
    KEEP_ADAPTER,
    LIST_ADAPTERS,
    REMOVE_ADAPTER,
    ROLL_BACK_ADAPTER,
    SERVE_ADAPTER,
    InService,
    KeepAdapter,
    Manifest,
    RemoveAdapter,
    RollBackAdapter,
    ServeAdapter,
)
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.ledger import READ_SETTINGS, Change, ReadSettings
from libs.shared.contracts.training import (
    KEEP_RUN,
    REPORT_RUN,
    Evaluated,
    ReportRun,
    RunKind,
    RunState,
    StartRun,
)
from libs.shared.errors import AdapterInUse, AdapterMismatched, ChangeConflict, EncoderUnproven, InvalidRequest
from services.persistence.handlers import encoders as handlers
from tests.integration.persistence.test_finding_memories import EMBEDDER, TEXTS, keep_and_index
from tests.support import encoders
from tests.support.persistence import Client, RunningPersistence


@pytest.fixture
async def cli(persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.CLI)
    yield bus
    await bus.drain(1)


async def once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def keep(bus: Bus, folder: Path, name: str = "tiny-1", **about: Any) -> Manifest:
    manifest = encoders.manifest_of(encoders.make(folder / name), name, **about)
    for file in manifest.files:
        await bus.objects(ARTEFACTS).put(file.sha256, once((folder / name / file.name).read_bytes()))
    await bus.request(KEEP_ADAPTER, KeepAdapter(manifest=manifest))
    return manifest


async def use(bus: Bus, name: str = "tiny-1", **about: Any) -> Change:
    return await bus.request(SERVE_ADAPTER, ServeAdapter(adapter=name, actor="admin", apply=True, **about))


async def embedder(bus: Bus) -> str | None:
    return (await bus.request(READ_SETTINGS, ReadSettings())).settings.embedder


async def in_service(bus: Bus) -> tuple[InService, ...]:
    (kept,) = (await bus.request(LIST_ADAPTERS, Empty())).adapters
    return kept.in_service


async def roll_back(bus: Bus) -> None:
    await bus.request(ROLL_BACK_ADAPTER, RollBackAdapter(adapter="tiny-1", actor="admin"))


async def check_it_is_used_and_rolled_back(
    cli: Bus, client: Client, persistence: RunningPersistence, folder: Path
) -> None:
    await keep_and_index(client, persistence, await client.user(), "c1", *TEXTS)
    manifest = await keep(cli, folder)
    change = await use(cli)
    assert change.after == await embedder(cli) == f"tiny-1@{manifest.configuration['version']}"
    assert await in_service(cli) == (InService(role="embed", share=1.0),)
    with pytest.raises(AdapterInUse):
        await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="tiny-1", actor="admin"))
    await roll_back(cli)
    assert await embedder(cli) == EMBEDDER, "a roll-back comes back to what embedded before, also where none was set"
    assert await in_service(cli) == ()


async def test_it_is_put_to_use_and_rolled_back_to_what_embedded_before(
    cli: Bus, client: Client, persistence: RunningPersistence, tmp_path: Path
) -> None:
    await check_it_is_used_and_rolled_back(cli, client, persistence, tmp_path)
    with pytest.raises(ChangeConflict):
        await roll_back(cli)
    await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="tiny-1", actor="admin"))


async def test_the_check_notices_a_roll_back_to_nothing(
    cli: Bus, client: Client, persistence: RunningPersistence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(*_: object) -> None: ...

    monkeypatch.setattr(handlers, "_write_down_what_is_used", forget)
    with pytest.raises(AssertionError):
        await check_it_is_used_and_rolled_back(cli, client, persistence, tmp_path)


async def test_where_nothing_is_remembered_yet_it_comes_back_to_what_the_caller_knows(cli: Bus, tmp_path: Path) -> None:
    await keep(cli, tmp_path)
    await use(cli, instead_of="built-in@1")
    await roll_back(cli)
    assert await embedder(cli) == "built-in@1"


async def check_only_proven_ones_are_used(cli: Bus, folder: Path) -> None:
    await keep(cli, folder, metrics={"mntp_loss_last": 2.0})
    with pytest.raises(EncoderUnproven):
        await use(cli)
    assert await embedder(cli) is None
    await use(cli, despite_verdict=True)
    assert await in_service(cli) == (InService(role="embed", share=1.0),)


async def test_what_was_never_found_to_help_is_used_only_by_who_insists(cli: Bus, tmp_path: Path) -> None:
    await check_only_proven_ones_are_used(cli, tmp_path)


async def measured(trainer: Bus, accepted: float) -> None:
    """An evaluation of the encoder, asked for and come to its end."""
    asked = StartRun(kind=RunKind.EVALUATE, model="tiny", evaluate=Evaluated(subject="tiny-1", run="r1"))
    run = await trainer.request(KEEP_RUN, asked)
    report = ReportRun(run_id=run.run_id, state=RunState.DONE, metrics={"accepted": accepted})
    await trainer.request(REPORT_RUN, report)


async def test_the_last_evaluation_decides(cli: Bus, broker: MemoryBroker, tmp_path: Path) -> None:
    trainer = await broker.connect(Principal.TRAINER)
    await keep(cli, tmp_path, metrics={"mntp_loss_last": 2.0})
    await measured(trainer, 0.0)
    with pytest.raises(EncoderUnproven):
        await use(cli)
    await measured(trainer, 1.0)
    await use(cli, instead_of="built-in@1")
    await roll_back(cli)
    await measured(trainer, 0.0)
    with pytest.raises(EncoderUnproven):
        await use(cli)
    await trainer.drain(1)


async def test_the_check_notices_that_the_verdict_is_not_asked(
    cli: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "accepted", lambda metrics: True)
    with pytest.raises(pytest.fail.Exception):
        await check_only_proven_ones_are_used(cli, tmp_path)


async def test_a_share_of_the_memories_is_refused(cli: Bus, tmp_path: Path) -> None:
    await keep(cli, tmp_path)
    with pytest.raises(InvalidRequest):
        await use(cli, share=0.5)


async def test_what_can_be_no_encoder_is_not_signed(cli: Bus, tmp_path: Path) -> None:
    with pytest.raises(AdapterMismatched):
        await keep(cli, tmp_path, configuration={"dimensions": 32})
    manifest = encoders.manifest_of(encoders.make(tmp_path / "tiny-1"), "tiny-1")
    fewer = manifest.model_copy(update={"files": manifest.files[1:]})
    with pytest.raises(AdapterMismatched):
        await cli.request(KEEP_ADAPTER, KeepAdapter(manifest=fewer))
    assert (await cli.request(LIST_ADAPTERS, Empty())).adapters == ()
