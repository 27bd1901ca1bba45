"""``mongars models adapters``: what is wrong is said before anything is asked, and rows tell how each stands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.errors import CommandError, Exit
from cli.training import adapters, artefacts
from libs.shared.artefacts.keeping import keep_folder
from libs.shared.artefacts.standing import Standing
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.accounts import READ_USER, User, UserRef
from libs.shared.contracts.adapters import ARTEFACTS, KEEP_ADAPTER, LIST_ADAPTERS, Adapters, InService, KeepAdapter
from libs.shared.contracts.adapters import SignedManifest as Signed
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.common import Role
from libs.shared.errors import StorageFull

MADE = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pirate"
    made.mkdir()
    (made / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/tiny"}')
    (made / "adapter_model.safetensors").write_bytes(b"weights")
    return made


async def test_a_folder_is_described_by_its_own_files_and_the_model_that_lies_here(
    folder: Path, tmp_path: Path
) -> None:
    broker = MemoryBroker()
    persistence, bus = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.CLI)

    async def read(wanted: UserRef) -> User:
        return User(
            user_id=f"id-{wanted.name}", name=wanted.name or "", role=Role.USER, disabled=False, created_at=MADE
        )

    await persistence.serve(READ_USER, read)
    models = tmp_path / "models"
    (models / "tiny").mkdir(parents=True)
    (models / "tiny" / "config.json").write_text("{}")
    (models / "tiny" / "model.safetensors").write_bytes(b"base")
    told = await artefacts.described(bus, folder, models, name=None, base=None, metrics=None, users=["ada"])
    assert (told.name, told.base.name, told.owners) == ("pirate", "tiny", ("id-ada",))
    assert told.base.fingerprint is not None
    other = await artefacts.described(bus, folder, models, name="p", base="other", metrics=None, users=[])
    assert (other.name, other.base.name, other.base.fingerprint, other.owners) == ("p", "other", None, None)
    await bus.drain(1)
    await persistence.drain(1)


@pytest.mark.parametrize(
    ("name", "metrics", "spoil"),
    [("no name", None, None), (None, "nothing.json", None), (None, None, "adapter_model.safetensors")],
)
async def test_what_is_wrong_with_a_folder_is_said(
    folder: Path, name: str | None, metrics: str | None, spoil: str | None
) -> None:
    bus = await MemoryBroker().connect(Principal.CLI)
    if spoil is not None:
        (folder / spoil).unlink()
    with pytest.raises(CommandError):
        await artefacts.described(
            bus, folder, folder, name=name, base=None, metrics=Path(metrics) if metrics else None, users=[]
        )
    await bus.drain(1)


@pytest.mark.parametrize("free", [6, 100])
async def test_a_store_without_room_refuses_before_anything_is_put(folder: Path, free: int) -> None:
    broker = MemoryBroker()
    persistence, bus = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.CLI)

    async def told(_: Empty) -> Adapters:
        return Adapters(adapters=(), key="", free_bytes=free)

    async def keep(asked: KeepAdapter) -> Signed:
        return Signed(body=asked.manifest.model_dump_json())

    await persistence.serve(LIST_ADAPTERS, told)
    await persistence.serve(KEEP_ADAPTER, keep)
    manifest = await artefacts.described(bus, folder, folder, name=None, base=None, metrics=None, users=[])
    if free < 60:
        with pytest.raises(StorageFull):
            await keep_folder(bus, folder, manifest)
    else:
        assert await keep_folder(bus, folder, manifest) == manifest
    assert len(broker.objects(ARTEFACTS).parts) == (0 if free < 60 else 2)
    await bus.drain(1)
    await persistence.drain(1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_is_none_is_refused_before_anything_is_asked(share: float) -> None:
    with pytest.raises(CommandError) as refused:
        adapters.canary("ada", share=share)
    assert refused.value.code is Exit.USAGE


def test_a_row_tells_where_it_answers_and_who_refuses_it() -> None:
    one = Standing(
        name="ada",
        model="tiny:ada",
        size_bytes=2**21,
        restricted=True,
        in_service=(InService(role="chat", share=0.1),),
        nodes=("pi",),
        refused={"orin": "storage_full"},
    )
    assert adapters._row(one) == ["ada", "tiny:ada", "2 MiB", "", "chat 10%", "pi", "restricted; orin: storage_full"]
