"""Upstreams that come and go in the state folder's file while a node runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libs.shared import upstreams
from libs.shared.errors import BackendFailed
from libs.shared.layout import StateFolder
from libs.shared.upstreams import AddedUpstream
from services.inference.backends import added
from services.inference.backends.base import Backend
from services.inference.backends.choose import Node, make_backend
from services.inference.models import ModelSpec
from tests.integration.inference.conftest import ask
from tests.integration.inference.upstreams import FakeOpenAI, FakeUpstream, running_upstream


@dataclass
class Shed:
    """A state folder, and what follows it."""

    folder: StateFolder
    backend: Backend
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, *listed: AddedUpstream) -> None:
        aside = self.folder.root / "aside"
        aside.write_bytes(upstreams.text_of(listed))
        aside.replace(self.folder.upstreams)

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not seen():
                self.changed.clear()
                await self.changed.wait()

    @property
    def names(self) -> set[str]:
        return {model.name for model in self.backend.models()}


@pytest.fixture
async def shed(tmp_path: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shed]:
    monkeypatch.setattr(added, "LOOK_S", 0.02)
    (tmp_path / "keys" / "upstreams").mkdir(parents=True)
    backend = make_backend(ModelSpec(backend="upstreams", path=tmp_path), node)
    shed = Shed(StateFolder(tmp_path), backend)
    await backend.load(shed.changed.set)
    yield shed
    await backend.close()


@pytest.fixture
async def server() -> AsyncIterator[FakeUpstream]:
    async with running_upstream(FakeOpenAI()) as upstream:
        yield upstream


def entry(server: FakeUpstream, **more: object) -> AddedUpstream:
    return AddedUpstream.model_validate({"name": "shed", "backend": "openai", "url": f"{server.url}/v1", **more})


async def test_a_server_that_is_added_is_asked_and_one_that_is_removed_is_not(shed: Shed, server: FakeUpstream) -> None:
    shed.write(entry(server, models=("big",)))
    await shed.until(lambda: shed.names == {"big"})
    assert [c async for c in shed.backend.generate(ask("big"))][-1].finish_reason == "stop"
    shed.write()
    await shed.until(lambda: shed.names == set())
    with pytest.raises(BackendFailed):
        shed.backend.generate(ask("big"))


async def test_a_new_key_is_taken_in(shed: Shed, server: FakeUpstream) -> None:
    server.key = "sk-2"
    key = shed.folder.upstream_key("shed")
    key.write_text("sk-1\n")
    shed.write(entry(server, key=True))
    await shed.until(lambda: shed.backend.troubles() == ("shed-unreachable",))
    (aside := key.with_suffix(".new")).write_text("sk-2\n")
    aside.replace(key)
    await shed.until(lambda: shed.names == {"big", "small"})
    assert shed.backend.troubles() == ()


async def test_a_file_that_can_t_be_read_leaves_what_was_there(shed: Shed, server: FakeUpstream) -> None:
    shed.write(entry(server))
    await shed.until(lambda: bool(shed.names))
    shed.folder.upstreams.write_text("[{")
    async with asyncio.timeout(10):
        while added.UNREADABLE not in shed.backend.troubles():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    assert shed.names == {"big", "small"}


async def test_two_servers_are_told_apart_by_their_models(shed: Shed, server: FakeUpstream) -> None:
    async with running_upstream(FakeOpenAI()) as other:
        shed.write(entry(server, models=("big",)), entry(other, name="attic", models=("small",)))
        await shed.until(lambda: shed.names == {"big", "small"})
        async for _ in shed.backend.generate(ask("small")):
            pass
        assert (len(server.asked), len(other.asked)) == (0, 1)
