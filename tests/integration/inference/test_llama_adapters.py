"""LoRA adapters through llama.cpp: switched with each request, and taken in beside what is being answered."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from libs.shared.contracts.inference import GenerateRequest
from libs.shared.errors import AdapterNotFound, ModelBroken, ModelDoesNotFit
from services.inference import adapter_shelf
from services.inference.adapters import Adapter
from services.inference.backends.choose import Node, make_backend
from services.inference.backends.llama_cpp import LlamaCppBackend
from services.inference.backends.llama_loading import Loaded, Loading
from services.inference.models import ModelSpec
from services.inference.unfinished_loads import MOST_TRIES
from tests.integration.inference.conftest import ask
from tests.support import adapters, language_model

NAMES = ("ada", "bea")
FOUND_S = 60.0


@pytest.fixture
def furnished(tmp_path: Path) -> Path:
    """A models folder with two adapters of the tiny model."""
    for seed, name in enumerate(NAMES):
        adapters.write_gguf(tmp_path, name, seed=seed)
    return tmp_path


@pytest.fixture
async def backend(furnished: Path, models: Path, node: Node) -> AsyncIterator[LlamaCppBackend]:
    made = await loaded(models, node)
    yield made
    await made.close()


async def loaded(models: Path, node: Node) -> LlamaCppBackend:
    path, options = models / language_model.GGUF_FILE, {"slots": 2}
    made = make_backend(ModelSpec(name="tiny", backend="llama_cpp", path=path, options=options), node)
    assert isinstance(made, LlamaCppBackend)
    await made.load(lambda: None)
    return made


def wanted(adapter: str | None, *, session: str | None = "s", tokens: int = 8) -> GenerateRequest:
    request = ask("tiny", max_tokens=tokens, temperature=0.0)
    return request.model_copy(update={"adapter": adapter, "session": session})


async def said(backend: LlamaCppBackend, request: GenerateRequest) -> str:
    async with asyncio.timeout(60):
        return "".join([chunk.text async for chunk in backend.generate(request)])


async def check_that_each_gets_its_own(backend: LlamaCppBackend) -> None:
    """Forty requests for the model and its adapters, two at once and in an order of chance, all of one session."""
    right = {name: await said(backend, wanted(name, session=None)) for name in (None, *NAMES)}
    if len(set(right.values())) != 3:
        raise AssertionError("they answer alike")
    order = random.Random(5).choices((None, *NAMES), k=40)
    given = await asyncio.gather(*(said(backend, wanted(name)) for name in order))
    if [right[name] for name in order] != given:
        raise AssertionError("an answer was another's")


async def test_interleaved_requests_get_each_their_own_answer(backend: LlamaCppBackend) -> None:
    assert backend.models()[0].adapters == NAMES
    assert backend.loaded_adapters() == ("tiny:ada", "tiny:bea")
    await check_that_each_gets_its_own(backend)


async def test_a_model_that_is_not_switched_would_be_noticed(
    backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loaded, "chosen", lambda self, adapter: {"lora": [{"id": 0, "scale": 1.0}]})
    with pytest.raises(AssertionError):
        await check_that_each_gets_its_own(backend)


async def test_one_that_comes_is_taken_in_while_an_answer_goes_on_to_its_end(
    furnished: Path, backend: LlamaCppBackend
) -> None:
    told = asyncio.Event()
    backend._changed = told.set
    own = await said(backend, wanted(None, session=None, tokens=300))
    with pytest.raises(AdapterNotFound):
        await said(backend, wanted("cleo"))
    async with aclosing(backend.generate(wanted(None, tokens=300))) as chunks:  # type: ignore[type-var]
        pieces = [(await anext(chunks)).text]
        before = backend._loaded
        adapters.write_gguf(furnished, "cleo", seed=9)
        async with asyncio.timeout(FOUND_S):
            await told.wait()
        assert backend.models()[0].adapters == ("ada", "bea", "cleo")
        assert backend._loaded is not before
        with_it = await said(backend, wanted("cleo", session=None))
        pieces += [chunk.text async for chunk in chunks]
    assert "".join(pieces) == own
    assert with_it not in {await said(backend, wanted(name, session=None)) for name in (None, *NAMES)}


async def test_one_whose_files_change_answers_as_it_was_until_what_it_is_now_is_loaded(
    furnished: Path, backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, renewing, go_on, renew = asyncio.Event(), Event(), Event(), Loading.renew

    def held_up(self: Loading, before: Loaded) -> Loaded | None:
        renewing.set()
        assert go_on.wait(FOUND_S)
        return renew(self, before)

    backend._changed = told.set
    monkeypatch.setattr(Loading, "renew", held_up)
    before = await said(backend, wanted("ada", session=None))
    try:
        adapters.write_gguf(furnished, "new", seed=9)
        (furnished / "adapters/new/new.gguf").rename(furnished / "adapters/ada/ada.gguf")
        assert await asyncio.to_thread(renewing.wait, FOUND_S)
        assert await said(backend, wanted("ada", session=None)) == before
    finally:
        go_on.set()
    async with asyncio.timeout(FOUND_S):
        while (after := await said(backend, wanted("ada", session=None))) == before:  # noqa: ASYNC110 - as a caller
            await asyncio.sleep(0.05)
    assert after not in {before, await said(backend, wanted("bea", session=None))}


async def test_what_llama_cpp_can_not_load_is_refused_by_name_and_the_rest_answers(
    furnished: Path, models: Path, node: Node
) -> None:
    adapters.write_gguf(furnished, "wide", seed=3, hidden=128)
    cut = adapters.write_gguf(furnished, "cut", seed=3) / "cut.gguf"
    cut.write_bytes(cut.read_bytes()[:-500])
    adapters.write_gguf(furnished, "foreign", seed=3, base="another-model")
    backend = await loaded(models, node)
    assert backend.troubles() == ("cut: adapter_broken", "wide: adapter_mismatched")
    assert backend.models()[0].adapters == NAMES
    await check_that_each_gets_its_own(backend)
    await backend.close()


async def test_adapters_that_find_no_room_leave_the_model_as_it_is(
    furnished: Path, models: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loading, "find_no_room", lambda self, adapters, first: ModelDoesNotFit("full"))
    backend = await loaded(models, node)
    assert backend.troubles() == ("ada: model_does_not_fit", "bea: model_does_not_fit")
    assert backend.models()[0].adapters == ()
    assert await said(backend, wanted(None))
    await backend.close()


async def noticed(backend: LlamaCppBackend, furnished: Path, name: str, hidden: int = 64) -> None:
    """Brings one more, and waits until the backend has done with it what it can."""
    told = asyncio.Event()
    backend._changed = told.set
    adapters.write_gguf(furnished, name, seed=9, hidden=hidden)
    async with asyncio.timeout(FOUND_S):
        await told.wait()


async def check_that_it_goes_on_without(
    backend: LlamaCppBackend, furnished: Path, name: str, code: str, hidden: int = 64
) -> None:
    before = backend._loaded
    await noticed(backend, furnished, name, hidden=hidden)
    assert backend.troubles() == (f"{name}: {code}",)
    assert backend._loaded is before, "no second copy took the place of the first"
    assert backend.models()[0].adapters == NAMES
    assert backend.loaded_adapters() == ("tiny:ada", "tiny:bea")
    await check_that_each_gets_its_own(backend)


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_shelf, "LOOK_S", 0.05)


async def test_one_that_finds_no_room_later_leaves_those_that_are_loaded_and_starts_nothing(
    attentive: None, furnished: Path, backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Adapter, ...]] = []
    monkeypatch.setattr(backend._loading, "_available_mib", lambda: 256.0)
    monkeypatch.setattr(backend._loading, "start", started.append)
    await check_that_it_goes_on_without(backend, furnished, "cleo", "model_does_not_fit")
    assert not started


async def test_a_second_copy_that_can_not_be_loaded_costs_only_the_one_that_came(
    attentive: None, furnished: Path, backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(wanted: tuple[Adapter, ...]) -> None:
        raise ModelBroken("llama.cpp can't load tiny.gguf")

    monkeypatch.setattr(backend._loading, "start", full)
    await check_that_it_goes_on_without(backend, furnished, "cleo", "model_does_not_fit")


async def test_a_misfit_that_comes_later_is_refused_alone_and_not_tried_again(
    attentive: None, furnished: Path, backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_that_it_goes_on_without(backend, furnished, "wide", "adapter_mismatched", hidden=128)
    tried: list[tuple[str, ...]] = []
    start = backend._loading.start

    def starting(wanted: tuple[Adapter, ...]) -> object:
        tried.append(tuple(one.name for one in wanted))
        return start(wanted)

    monkeypatch.setattr(backend._loading, "start", starting)
    await noticed(backend, furnished, "cleo")
    assert tried == [("ada", "bea", "cleo")]
    assert backend.models()[0].adapters == ("ada", "bea", "cleo")
    assert backend.troubles() == ("wide: adapter_mismatched",)


async def test_what_is_loaded_only_after_the_end_does_not_stay(
    furnished: Path, models: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await loaded(models, node)
    before, loading, closed = backend._loaded, Event(), Event()
    assert before is not None
    start = backend._loading.start

    def starting(wanted: tuple[Adapter, ...]) -> object:
        loading.set()
        assert closed.wait(60)
        return start(wanted)

    monkeypatch.setattr(backend._loading, "start", starting)
    adapters.write_gguf(furnished, "cleo", seed=9)
    await backend._shelf.look()
    renewing = asyncio.create_task(asyncio.to_thread(backend._renew, before))
    async with asyncio.timeout(60):
        await asyncio.to_thread(loading.wait)
        await backend.close()
        closed.set()
        await renewing
    assert backend._loaded is None


def run_until_it_lives(furnished: Path) -> tuple[int, dict[str, Any]]:
    """How many processes loading the adapters ended, as a supervisor would start them anew; what the last one told."""
    for ended in range(MOST_TRIES + 1):
        made = subprocess.run(
            [sys.executable, "-m", "tests.support.loading", str(furnished)], capture_output=True, timeout=120
        )
        if made.returncode == 0:
            return ended, json.loads(made.stdout)
        assert made.returncode < 0, made.stderr.decode()[-2000:]
    raise AssertionError("loading it ends every process")


def test_what_llama_cpp_does_not_survive_is_refused_and_takes_nothing_else_along(furnished: Path) -> None:
    adapters.write_gguf(furnished, "deadly", seed=3, numbers="int32")
    ended, told = run_until_it_lives(furnished)
    assert ended == MOST_TRIES
    assert told["loaded"] == ["tiny:ada", "tiny:bea"]
    assert told["troubles"] == ["deadly: adapter_broken"]
    assert told["said"]


def test_without_the_marks_it_would_end_every_process(furnished: Path) -> None:
    adapters.write_gguf(furnished, "deadly", seed=3, numbers="int32")
    (furnished / "loads").write_text("a file where the marks' folder should be")
    with pytest.raises(AssertionError, match="every process"):
        run_until_it_lives(furnished)


async def test_numbers_that_nothing_can_be_multiplied_with_are_not_even_tried(
    furnished: Path, models: Path, node: Node
) -> None:
    adapters.write_gguf(furnished, "deadly", seed=3, numbers="int32")
    backend = await loaded(models, node)
    assert backend.troubles() == ("deadly: adapter_broken",)
    assert backend.loaded_adapters() == ("tiny:ada", "tiny:bea")
    await backend.close()
