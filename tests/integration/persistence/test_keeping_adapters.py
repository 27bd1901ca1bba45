"""Adapters are kept signed, put into service through the ledger, rolled back, and removed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.artefacts.manifests import sign, verified
from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.adapters import (
    ARTEFACTS,
    KEEP_ADAPTER,
    LIST_ADAPTERS,
    READ_ADAPTER_FILE,
    REMOVE_ADAPTER,
    ROLL_BACK_ADAPTER,
    SERVE_ADAPTER,
    ArtefactFile,
    BaseModelOf,
    InService,
    KeepAdapter,
    KeptAdapter,
    Manifest,
    ReadAdapterFile,
    RemoveAdapter,
    RollBackAdapter,
    ServeAdapter,
)
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.conversations import DELETE_CONVERSATION, ConversationRef
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    PROPOSE_CHANGE,
    READ_SETTINGS,
    Change,
    ChangeState,
    DecideChange,
    Decision,
    ProposeChange,
    ReadSettings,
)
from libs.shared.contracts.material import RECORD_ADAPTER, RecordAdapter
from libs.shared.contracts.runtime_settings import Canary, RuntimeSettings
from libs.shared.errors import (
    AdapterExists,
    AdapterInUse,
    AdapterNotFound,
    AdapterTainted,
    ArtefactCorrupt,
    ArtefactForeign,
    ChangeConflict,
)
from services.persistence import restored_adapters
from services.persistence.repositories import ledger as rows
from tests.support.persistence import Client, RunningPersistence
from tests.support.trained import BOTH, Scene, choose

WEIGHTS = b"weights" * 100_000


@pytest.fixture
async def cli(persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.CLI)
    yield bus
    await bus.drain(1)


@pytest.fixture
async def node(persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Bus]:
    bus = await broker.connect(Principal.INFERENCE)
    yield bus
    await bus.drain(1)


async def put(bus: Bus, body: bytes) -> ArtefactFile:
    async def once() -> AsyncIterator[bytes]:
        yield body

    digest = hashlib.sha256(body).hexdigest()
    await bus.objects(ARTEFACTS).put(digest, once())
    return ArtefactFile(name="adapter_model.safetensors", size=len(body), sha256=digest)


async def keep(bus: Bus, name: str = "ada", body: bytes = WEIGHTS) -> Manifest:
    file = await put(bus, body)
    manifest = Manifest(name=name, base=BaseModelOf(name="tiny"), files=(file,), created=datetime.now(UTC))
    await bus.request(KEEP_ADAPTER, KeepAdapter(manifest=manifest))
    return manifest


async def serve(bus: Bus, share: float = 1.0, **options: bool) -> Change:
    asked = ServeAdapter(adapter="ada", share=share, actor="admin", apply=True)
    return await bus.request(SERVE_ADAPTER, asked.model_copy(update=options))


async def roll_back(bus: Bus) -> tuple[Change, ...]:
    return (await bus.request(ROLL_BACK_ADAPTER, RollBackAdapter(adapter="ada", actor="admin"))).changes


async def in_force(bus: Bus) -> RuntimeSettings:
    return (await bus.request(READ_SETTINGS, ReadSettings())).settings


async def listed(bus: Bus) -> dict[str, KeptAdapter]:
    return {kept.name: kept for kept in (await bus.request(LIST_ADAPTERS, Empty())).adapters}


async def read(bus: Bus, manifest: Manifest) -> bytes:
    asked = ReadAdapterFile(adapter=manifest.name, sha256=manifest.files[0].sha256)
    async with bus.stream(READ_ADAPTER_FILE, asked) as pieces:
        return b"".join([piece.data async for piece in pieces])


async def test_a_kept_one_is_signed_by_the_installation_and_read_whole(cli: Bus, node: Bus) -> None:
    manifest = await keep(cli)
    told = await node.request(LIST_ADAPTERS, Empty())
    assert verified(told.adapters[0].signed, told.key) == manifest == told.adapters[0].manifest
    assert await read(node, manifest) == WEIGHTS


async def test_a_name_stands_for_the_same_files_for_ever(cli: Bus, node: Bus) -> None:
    manifest = await keep(cli)
    await cli.request(KEEP_ADAPTER, KeepAdapter(manifest=manifest))  # the same once more is no fault
    with pytest.raises(AdapterExists):
        await keep(cli, body=b"others")
    assert await read(node, manifest) == WEIGHTS


async def test_what_does_not_lie_in_the_store_is_not_signed(cli: Bus) -> None:
    file = ArtefactFile(name="adapter_model.safetensors", size=3, sha256="0" * 64)
    manifest = Manifest(name="ada", base=BaseModelOf(name="tiny"), files=(file,), created=datetime.now(UTC))
    with pytest.raises(ArtefactCorrupt):
        await cli.request(KEEP_ADAPTER, KeepAdapter(manifest=manifest))
    assert await listed(cli) == {}


async def test_a_manifest_that_another_signed_is_named_and_never_served(cli: Bus, node: Bus) -> None:
    manifest = await keep(cli)
    foreign = sign(b"1" * 32, manifest.model_copy(update={"name": "eve"})).model_dump_json().encode()

    async def once(body: bytes) -> AsyncIterator[bytes]:
        yield body

    await cli.objects(ARTEFACTS).put("manifests/eve", once(foreign))
    await cli.objects(ARTEFACTS).put("manifests/mallory", once(b"{}"))
    found = await listed(cli)
    assert (found["eve"].code, found["eve"].manifest) == ("artefact_foreign", None)
    assert found["mallory"].code == "artefact_corrupt"
    with pytest.raises(ArtefactForeign):
        await read(node, manifest.model_copy(update={"name": "eve"}))
    with pytest.raises(ArtefactForeign):
        await cli.request(SERVE_ADAPTER, ServeAdapter(adapter="eve", actor="admin", apply=True))
    await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="eve", actor="admin"))
    assert await read(node, manifest) == WEIGHTS


async def check_promoting_and_rolling_back(cli: Bus) -> None:
    await keep(cli)
    await cli.request(PROPOSE_CHANGE, ProposeChange(key="default_model", value="tiny", actor="admin", apply=True))
    await serve(cli, 0.1)
    await serve(cli, 0.5)
    assert (await in_force(cli)).chat_canary == Canary(model="tiny:ada", share=0.5)
    assert (await listed(cli))["ada"].in_service == (InService(role="chat", share=0.5),)
    await serve(cli)
    assert (await in_force(cli)).default_model == "tiny:ada"
    assert (await listed(cli))["ada"].in_service == (InService(role="chat", share=1.0),)
    changes = await roll_back(cli)
    after = await in_force(cli)
    assert (after.default_model, after.chat_canary) == ("tiny", None)
    assert [change.state for change in changes] == [ChangeState.ROLLED_BACK] * 3
    assert (await listed(cli))["ada"].in_service == ()


async def test_it_is_promoted_and_rolled_back_to_what_there_was_before(cli: Bus) -> None:
    await check_promoting_and_rolling_back(cli)
    with pytest.raises(ChangeConflict):
        await roll_back(cli)


async def test_the_check_notices_a_roll_back_that_restores_nothing(cli: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(_: object, session: AsyncSession, change: Change, *__: object) -> None:
        await rows.remove_setting(session, change.key)

    monkeypatch.setattr("services.persistence.appliers.SettingApplier.restore", forget)
    with pytest.raises(AssertionError):
        await check_promoting_and_rolling_back(cli)


async def test_a_change_that_was_only_proposed_serves_nothing_until_it_is_approved(cli: Bus) -> None:
    await keep(cli)
    change = await cli.request(SERVE_ADAPTER, ServeAdapter(adapter="ada", actor="operator"))
    assert (await in_force(cli)).default_model is None
    await cli.request(DECIDE_CHANGE, DecideChange(change_id=change.change_id, decision=Decision.APPROVE, actor="admin"))
    assert (await in_force(cli)).default_model == "tiny:ada"


async def test_one_in_service_is_not_removed_and_one_out_of_it_leaves_nothing(
    cli: Bus, node: Bus, broker: MemoryBroker
) -> None:
    manifest, other = await keep(cli), await keep(cli, "twin")
    await serve(cli)
    with pytest.raises(AdapterInUse):
        await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="ada", actor="admin"))
    await roll_back(cli)
    await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="ada", actor="admin"))
    with pytest.raises(AdapterNotFound):
        await read(node, manifest)
    assert await read(node, other) == WEIGHTS
    await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="twin", actor="admin"))
    assert broker.objects(ARTEFACTS).parts == {}


@pytest.fixture
async def scene(client: Client, persistence: RunningPersistence, broker: MemoryBroker) -> AsyncIterator[Scene]:
    trainer = await broker.connect(Principal.TRAINER)
    yield await Scene(client, persistence, trainer).open()
    await trainer.drain(1)


async def test_one_that_was_trained_with_what_is_forgotten_is_marked_and_not_promoted_unawares(
    cli: Bus, scene: Scene
) -> None:
    await keep(cli)
    await scene.dataset("own", [one for one in await scene.material() if one.owner == scene.ana])
    await scene.trainer.request(RECORD_ADAPTER, RecordAdapter(adapter="ada", datasets=("a-own",)))
    assert not (await listed(cli))["ada"].tainted
    await scene.client.bus.request(DELETE_CONVERSATION, ConversationRef(user_id=scene.ana, conversation_id=scene.where))
    assert (await listed(cli))["ada"].tainted
    with pytest.raises(AdapterTainted):
        await serve(cli)
    await serve(cli, despite_taint=True)
    assert (await in_force(cli)).default_model == "tiny:ada"


async def test_whose_it_is_follows_what_they_decide(cli: Bus, scene: Scene) -> None:
    name = f"{scene.tag}-{BOTH}"
    await keep(cli, name)
    owners = tuple(sorted((scene.ana, scene.ben)))

    async def told() -> tuple[str, ...] | None:
        return (await listed(cli))[name].owners

    assert await told() == owners
    await choose(scene.client, scene.ana, share_adapters=True)
    assert await told() == owners, "each of them has to agree"
    await choose(scene.client, scene.ben, share_adapters=True)
    assert await told() is None
    await choose(scene.client, scene.ana, share_adapters=False)
    assert await told() == owners


def test_nodes_are_told_the_public_half_of_a_key_that_no_file_holds(persistence: RunningPersistence) -> None:
    folder: Path = persistence.settings.folder.keys
    assert {path.name for path in folder.iterdir()} == {"installation.key"}


def set_aside(folder: Path, *kept: KeptAdapter, body: bytes = WEIGHTS) -> Path:
    """As a restore lays them down."""
    for name in ("files", "manifests"):
        (folder / name).mkdir(parents=True)
    (folder / "files" / hashlib.sha256(WEIGHTS).hexdigest()).write_bytes(body)
    for one in kept:
        (folder / "manifests" / one.name).write_text(one.signed.model_dump_json())
    return folder


async def test_what_a_restore_laid_down_is_kept_again_as_it_was_signed(
    persistence: RunningPersistence, cli: Bus, node: Bus, tmp_path: Path
) -> None:
    manifest = await keep(cli)
    before = (await listed(cli))["ada"]
    foreign = before.model_copy(
        update={"name": "eve", "signed": sign(b"another " * 4, manifest.model_copy(update={"name": "eve"}))}
    )
    await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="ada", actor="admin"))
    assert await listed(cli) == {}
    folder = set_aside(tmp_path / "restored", before, foreign)
    await restored_adapters.run(persistence.parts, folder)
    assert not folder.exists()
    assert await listed(cli) == {"ada": before}, "and nobody else's"
    assert await read(node, manifest) == WEIGHTS
    assert await restored_adapters.bring_in(persistence.parts, set_aside(tmp_path / "again", before)) == 1


async def test_what_came_damaged_out_of_a_backup_is_left_out(
    persistence: RunningPersistence, cli: Bus, tmp_path: Path
) -> None:
    await keep(cli)
    before = (await listed(cli))["ada"]
    await cli.request(REMOVE_ADAPTER, RemoveAdapter(adapter="ada", actor="admin"))
    folder = set_aside(tmp_path / "restored", before, body=b"others")
    assert await restored_adapters.bring_in(persistence.parts, folder) == 0
    assert await listed(cli) == {}
    assert (await cli.request(LIST_ADAPTERS, Empty())).free_bytes > 0
