"""LoRA adapters through transformers: several resident, one model, each request exactly its own answer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from libs.shared.contracts.inference import GenerateRequest
from libs.shared.errors import AdapterBroken, AdapterMismatched, AdapterNotFound, ModelDoesNotFit
from services.inference.adapters import WEIGHTS_FILE, Adapter, check_shapes
from services.inference.backends import lora
from services.inference.backends.choose import Node, make_backend
from services.inference.backends.prefix_cache import PrefixCache
from services.inference.backends.transformers import TransformersBackend
from services.inference.fit import KEPT_FREE_MIB, MIB
from services.inference.models import ModelSpec
from tests.integration.inference.conftest import ask
from tests.support import adapters, language_model

pytestmark = pytest.mark.torch

NAMES = ("ada", "bea")


@pytest.fixture
def furnished(models: Path, tmp_path: Path) -> Path:
    """A models folder with two adapters of the tiny model."""
    for seed, name in enumerate(NAMES):
        # One of them changes layers that the other leaves alone.
        adapters.write(tmp_path, name, seed=seed, targets=adapters.TARGETS[: 2 + seed])
    return tmp_path


@pytest.fixture
async def backend(furnished: Path, models: Path, node: Node) -> AsyncIterator[TransformersBackend]:
    made = await loaded(models, node)
    yield made
    await made.close()


async def loaded(models: Path, node: Node) -> TransformersBackend:
    made = make_backend(ModelSpec(name="tiny", backend="transformers", path=models / language_model.FOLDER), node)
    assert isinstance(made, TransformersBackend)
    await made.load(lambda: None)
    return made


def wanted(adapter: str | None, text: str = "the cat sat on the mat", **sampling: Any) -> GenerateRequest:
    request = ask("tiny", text, **({"max_tokens": 8, "temperature": 0.0} | sampling))
    return request.model_copy(update={"adapter": adapter, "session": "s"})


async def said(backend: TransformersBackend, request: GenerateRequest) -> str:
    """As a replica asks for it."""
    async with asyncio.timeout(60):
        await backend.prepare(request)
        return "".join([chunk.text async for chunk in backend.generate(request)])


async def unattended(backend: TransformersBackend) -> None:
    """It has seen what there is, and nothing that comes from now on."""
    await backend._shelf.close()
    await backend._shelf.look()


async def expected(backend: TransformersBackend) -> dict[str | None, str]:
    """Each one's answer, read whole."""
    answers = {name: await said(backend, wanted(name, seed=1)) for name in (None, *NAMES)}
    assert len(set(answers.values())) == 3
    return answers


async def check_that_each_gets_its_own(backend: TransformersBackend) -> None:
    """Two dozen requests for the model and its adapters, at once and in an order of chance."""
    right = await expected(backend)
    order = random.Random(5).choices((None, *NAMES), k=24)
    given = await asyncio.gather(*(said(backend, wanted(name)) for name in order))
    wrong = [name for name, answer in zip(order, given, strict=True) if answer != right[name]]
    if wrong:
        raise AssertionError(f"{len(wrong)} answers were another's")


async def test_interleaved_requests_get_each_their_own_answer(backend: TransformersBackend) -> None:
    await check_that_each_gets_its_own(backend)
    assert backend.loaded_adapters() == ("tiny:ada", "tiny:bea")
    [model] = backend.models()
    assert model.adapters == NAMES
    assert model.adapter_load_s is not None
    assert 0 < model.adapter_load_s < 60


async def test_a_model_that_is_not_switched_would_be_noticed(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = await expected(backend)
    monkeypatch.setattr(lora.Residents, "use", lambda self, adapter: None)
    given = [await said(backend, wanted(name)) for name in (None, *NAMES)]
    assert given != [right[name] for name in (None, *NAMES)]
    with pytest.raises(AssertionError):
        await check_that_each_gets_its_own(backend)


async def check_that_nothing_read_by_one_serves_another(backend: TransformersBackend) -> None:
    story = " ".join(language_model.SENTENCES)
    whole = {name: await said(backend, wanted(name, story, seed=1)) for name in (None, *NAMES)}
    for name in (None, "ada", "bea", None, "bea", "ada", "ada", None, None):
        assert await said(backend, wanted(name, story)) == whole[name]


async def test_what_one_adapter_has_read_is_not_taken_for_another(backend: TransformersBackend) -> None:
    await check_that_nothing_read_by_one_serves_another(backend)
    request = wanted("ada", " ".join(language_model.SENTENCES))
    await said(backend, request)
    last = [chunk async for chunk in backend.generate(request)][-1].usage
    assert last is not None
    assert last.cached_tokens == last.prompt_tokens - 1


async def test_a_prefix_that_all_adapters_share_would_be_noticed(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, keep = PrefixCache.take, PrefixCache.keep
    monkeypatch.setattr(PrefixCache, "take", lambda self, session, ids, adapter=None: take(self, session, ids))
    monkeypatch.setattr(
        PrefixCache, "keep", lambda self, session, cache, ids, adapter=None: keep(self, session, cache, ids)
    )
    with pytest.raises(AssertionError):
        await check_that_nothing_read_by_one_serves_another(backend)


async def test_the_one_used_longest_ago_makes_room(furnished: Path, models: Path, node: Node) -> None:
    adapters.write(furnished, "cleo", seed=9)
    backend = await loaded(models, replace(node, adapters_resident=2))
    for name in ("ada", "bea", "ada", "cleo"):
        await said(backend, wanted(name))
    assert backend.loaded_adapters() == ("tiny:ada", "tiny:cleo")
    right = await said(backend, wanted("bea"))
    assert backend.loaded_adapters() == ("tiny:bea", "tiny:cleo")
    await said(backend, wanted("ada"))
    assert await said(backend, wanted("bea")) == right
    await backend.close()


async def test_what_is_wrong_is_refused_by_name_and_the_rest_answers(furnished: Path, models: Path, node: Node) -> None:
    plain = await loaded(models, replace(node, models_folder=furnished / "none"))
    own = await said(plain, wanted(None))
    await plain.close()
    cut = adapters.write(furnished, "cut", seed=3) / "adapter_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:2000])
    adapters.write(furnished, "wide", seed=3, hidden=128)
    adapters.write(furnished, "foreign", seed=3, base="another-model")
    pickled = adapters.write(furnished, "pickled", seed=3)
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    backend = await loaded(models, node)
    assert backend.troubles() == ("cut: adapter_broken", "pickled: adapter_broken", "wide: adapter_mismatched")
    assert backend.models()[0].adapters == NAMES
    for name in ("cut", "wide", "foreign", "pickled"):
        with pytest.raises(AdapterNotFound):
            await said(backend, wanted(name))
    assert await said(backend, wanted(None)) == own
    await backend.close()


async def test_one_that_proves_broken_while_it_is_loaded_is_refused_and_its_model_unchanged(
    backend: TransformersBackend, furnished: Path
) -> None:
    right = await expected(backend)
    broken = adapters.write(furnished, "late", seed=3) / "adapter_model.safetensors"
    await unattended(backend)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AdapterBroken):
        await said(backend, wanted("late"))
    assert backend.troubles() == ("late: adapter_broken",)
    assert backend.models()[0].adapters == NAMES
    assert {name: await said(backend, wanted(name)) for name in right} == right


async def test_weights_that_change_while_they_are_loaded_are_those_that_were_read(
    furnished: Path, backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = await said(backend, wanted("bea"))
    weights = furnished / "adapters" / "bea" / "adapter_model.safetensors"
    twin = adapters.write(furnished, "twin", seed=1) / weights.name
    twin.write_bytes(weights.read_bytes())
    await unattended(backend)

    def checking(*given: Any) -> None:
        with twin.open("r+b") as file:
            file.seek(twin.stat().st_size // 4)
            file.write(bytes(twin.stat().st_size // 2))
        check_shapes(*given)

    monkeypatch.setattr(f"{lora.__name__}.check_shapes", checking)
    residents = backend._residents
    assert residents is not None
    twin_adapter = backend._shelf.adapters["twin"]
    await asyncio.get_running_loop().run_in_executor(backend._worker, residents.load, twin_adapter)
    assert await said(backend, wanted("twin")) == right


def says(folder: Path, **config: Any) -> None:
    """Alters what peft's configuration says."""
    about = folder / "adapter_config.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | config))


async def test_ranks_and_strengths_that_are_said_by_layer_count_for_those(
    furnished: Path, models: Path, node: Node
) -> None:
    by_layer = adapters.write(furnished, "eva", seed=0, targets=adapters.TARGETS[:2])
    ranks = {"self_attn.q_proj": adapters.RANK, "v_proj": adapters.RANK}
    says(by_layer, r=32, rank_pattern=ranks, lora_alpha=1, alpha_pattern=dict.fromkeys(ranks, 8))
    weak = adapters.write(furnished, "weak", seed=0, targets=adapters.TARGETS[:2])
    says(weak, lora_alpha=0.001)
    backend = await loaded(models, node)
    assert await said(backend, wanted("eva")) == await said(backend, wanted("ada"))
    assert await said(backend, wanted("weak")) != await said(backend, wanted("ada")), "strength would be noticed"
    await backend.close()


async def test_a_rank_that_the_weights_do_not_have_takes_no_memory(
    furnished: Path, models: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(adapters.write(furnished, "huge", seed=3), r=4096)
    late = adapters.write(furnished, "late", seed=3)
    backend = await loaded(models, node)
    assert backend.troubles() == ("huge: adapter_mismatched",)
    right = await expected(backend)
    says(late, rank_pattern={"q_proj": 4096})
    assert backend._residents is not None
    made: list[str] = []
    monkeypatch.setattr(backend._residents._tuner, "inject_adapter", lambda model, name: made.append(name))
    adapter = next(one for one in backend._shelf.adapters.values() if one.name == "late")
    with pytest.raises(AdapterMismatched):
        backend._residents.load(adapter)
    assert not made
    assert {name: await said(backend, wanted(name)) for name in right} == right
    await backend.close()


async def test_where_memory_is_short_others_make_room_and_the_last_is_refused_without_harm(
    furnished: Path, models: Path, node: Node
) -> None:
    room = 2
    need_mib = lora.COPIES * adapters.write(furnished, "cleo", seed=9).joinpath(WEIGHTS_FILE).stat().st_size / MIB
    backend: TransformersBackend | None = None

    def available_mib() -> float:
        if backend is None:
            return 8192.0
        return KEPT_FREE_MIB + (room - len(backend.loaded_adapters())) * need_mib

    backend = await loaded(models, replace(node, available_mib=available_mib))
    own = await said(backend, wanted(None))
    for name in ("ada", "bea", "cleo"):
        await said(backend, wanted(name))
    assert backend.loaded_adapters() == ("tiny:bea", "tiny:cleo")
    room = 0
    with pytest.raises(ModelDoesNotFit):
        await said(backend, wanted("ada"))
    assert await said(backend, wanted(None)) == own
    room = 2
    assert await said(backend, wanted("ada")) != own, "it is offered on, and fits again"
    await backend.close()


async def test_a_request_that_is_given_up_while_its_adapter_is_loaded_leaves_it_whole(
    furnished: Path, models: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await loaded(models, node)
    residents = backend._residents
    assert residents is not None
    load, loading, go_on = residents.load, Event(), Event()

    def slowly(adapter: Adapter) -> None:
        loading.set()
        assert go_on.wait(60)
        load(adapter)

    monkeypatch.setattr(residents, "load", slowly)
    given_up = asyncio.create_task(said(backend, wanted("ada")))
    await asyncio.to_thread(loading.wait, 60)
    ada = backend._shelf.adapters["ada"]
    assert backend._shelf.unfinished.tries(ada) == 1
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert backend._shelf.unfinished.tries(ada) == 1, "it is still being loaded"
    go_on.set()
    await check_that_each_gets_its_own(backend)
    assert backend._shelf.unfinished.tries(ada) == 0
    assert backend.loaded_adapters() == ("tiny:ada", "tiny:bea")
    await backend.close()
