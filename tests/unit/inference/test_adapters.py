"""What is told of adapters by their files alone."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from libs.shared.errors import AdapterBroken, AdapterMismatched
from services.inference import adapter_shelf, unclaimed_adapters
from services.inference.adapter_shelf import AdapterShelf
from services.inference.adapters import (
    MOST,
    Lora,
    check_ranks,
    check_shapes,
    fingerprint,
    is_for,
    read_adapters,
    read_lora,
)
from services.inference.models import ModelSpec, read_catalogue
from services.inference.unclaimed_adapters import UnclaimedAdapters
from services.inference.unfinished_loads import UnfinishedLoads

CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": 4, "lora_alpha": 8}
LAYERS = {"model.layers.0.q": (32, 64)}
DOWN, UP = "base_model.model.model.layers.0.q.lora_A.weight", "base_model.model.model.layers.0.q.lora_B.weight"


def put(models: Path, name: str, **config: Any) -> Path:
    folder = models / "adapters" / name
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def test_each_folder_is_one_and_what_is_being_put_there_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "ada")
    put(tmp_path, ".bea.part")
    found, refused = read_adapters(tmp_path, "peft")
    assert (list(found), refused) == (["ada"], {})
    assert (found["ada"].base, found["ada"].size) == ("tiny", 7)
    assert read_adapters(tmp_path / "none", "peft") == ({}, {})


def test_the_folder_of_adapters_is_no_model(tmp_path: Path) -> None:
    put(tmp_path, "ada")
    (tmp_path / "adapters" / "config.json").write_text("{}")
    assert read_catalogue(tmp_path, (), None).specs == ()


def test_what_an_operator_writes_beside_it_goes_before_what_it_was_trained_on(tmp_path: Path) -> None:
    (put(tmp_path, "ada") / "adapter.json").write_text('{"base": "mine"}')
    assert read_adapters(tmp_path, "peft")[0]["ada"].base == "mine"


@pytest.mark.parametrize(
    ("base", "ours"), [("tiny", True), ("/somewhere/tiny", True), ("org/tiny", True), ("tiny-chat", False), ("", False)]
)
def test_it_is_its_model_s_by_name_path_or_hub_id(tmp_path: Path, base: str, ours: bool) -> None:
    (put(tmp_path, "ada") / "adapter.json").write_text(json.dumps({"base": base or "x"}))
    adapter = read_adapters(tmp_path, "peft")[0]["ada"]
    assert is_for(adapter, ModelSpec(name="tiny", backend="transformers", path=tmp_path)) is ours


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"peft_type": "IA3"}, "adapter_broken"),
        ({"use_dora": True}, "adapter_broken"),
        ({"modules_to_save": ["lm_head"]}, "adapter_broken"),
        ({"bias": "all"}, "adapter_broken"),
        ({"init_lora_weights": "pissa"}, "adapter_broken"),
        ({"r": 0}, "adapter_broken"),
        ({"rank_pattern": {"(.*.*)*x": 4}}, "adapter_broken"),
        ({"rank_pattern": {"q": 10**9}}, "adapter_broken"),
        ({"alpha_pattern": {"(a|a)+$": 8}}, "adapter_broken"),
        ({"base_model_name_or_path": None}, "adapter_mismatched"),
    ],
)
def test_what_is_not_served_is_refused_by_name(tmp_path: Path, config: dict[str, Any], code: str) -> None:
    put(tmp_path, "ada", **config)
    put(tmp_path, "bea")
    found, refused = read_adapters(tmp_path, "peft")
    assert (list(found), refused) == (["bea"], {"ada": code})


def test_what_training_leaves_in_a_configuration_is_no_hindrance(tmp_path: Path) -> None:
    path = put(tmp_path, "ada", lora_dropout=0.1, target_modules=["q"], use_dora=False, peft_version="1", revision="x")
    assert read_lora(path / "adapter_model.safetensors").r == 4


def test_pickled_weights_and_names_that_no_request_can_say_are_refused(tmp_path: Path) -> None:
    pickled = put(tmp_path, "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    put(tmp_path, "two words")
    assert read_adapters(tmp_path, "peft") == ({}, dict.fromkeys(("pickled", "two words"), "adapter_broken"))


def test_a_pipe_in_place_of_a_description_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(put(tmp_path, "ada") / "adapter.json")
    assert read_adapters(tmp_path, "peft") == ({}, {"ada": "adapter_broken"})


def test_a_name_that_is_no_text_is_told_in_letters(tmp_path: Path) -> None:
    folder = put(tmp_path, "ada")
    folder.rename(folder.with_name("a\udcff\n"))
    [(name, code)] = read_adapters(tmp_path, "peft")[1].items()
    assert (name, code) == ("a\\udcff\\n", "adapter_broken")
    assert name.encode("utf-8")


def gguf_of(models: Path, name: str, **metadata: Any) -> Path:
    folder = models / "adapters" / name
    folder.mkdir(parents=True)
    writer = gguf.GGUFWriter(folder / f"{name}.gguf", "llama")
    writer.add_string("adapter.type", "lora")
    for key, value in metadata.items():
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((4, 64), dtype="float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


@pytest.mark.parametrize("base", [7, ["tiny"], True])
async def test_a_model_named_by_what_is_no_text_is_the_file_s_fault_alone(tmp_path: Path, base: Any) -> None:
    gguf_of(tmp_path, "odd", **{"general.base_model.0.name": base})
    gguf_of(tmp_path, "ada", **{"general.base_model.0.name": "tiny"})
    found, refused = read_adapters(tmp_path, "gguf")
    assert (list(found), refused) == (["ada"], {"odd": "adapter_broken"})
    spec = ModelSpec(name="tiny", backend="llama_cpp", path=tmp_path / "tiny.gguf")
    shelf = AdapterShelf(tmp_path, spec, lambda adapter: None, UnfinishedLoads(tmp_path / "loads", "tiny"))
    await shelf.look()
    assert (shelf.names, shelf.troubles()) == (("ada",), ("odd: adapter_broken",))
    await UnclaimedAdapters(tmp_path, [spec], lambda now: None).look()


def test_weights_whose_file_name_is_no_text_are_refused(tmp_path: Path) -> None:
    folder = gguf_of(tmp_path, "ada", **{"general.base_model.0.name": "tiny"})
    (folder / "ada.gguf").rename(folder / "\udcff.gguf")
    assert read_adapters(tmp_path, "gguf") == ({}, {"ada": "adapter_broken"})


def test_a_folder_that_can_not_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "ada")
    closed = put(tmp_path, "closed")
    listed = Path.iterdir

    def listing(path: Path) -> Any:
        if path == closed:
            raise PermissionError(13, "closed", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", listing)
    before = fingerprint(tmp_path / "adapters")
    put(tmp_path, "bea")
    assert fingerprint(tmp_path / "adapters") != before
    found, refused = read_adapters(tmp_path, "peft")
    assert (sorted(found), refused) == (["ada", "bea"], {"closed": "adapter_broken"})


async def test_what_goes_wrong_with_one_change_does_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_shelf, "LOOK_S", 0.01)
    told: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
    spec = ModelSpec(name="tiny", backend="transformers", path=tmp_path)
    shelf = AdapterShelf(tmp_path, spec, lambda adapter: None, UnfinishedLoads(tmp_path / "loads", "tiny"))

    async def changed() -> None:
        told.put_nowait(shelf.names)
        raise ValueError

    await shelf.look()
    shelf.begin(changed)
    async with asyncio.timeout(60):
        for name, names in {"ada": ("ada",), "bea": ("ada", "bea")}.items():
            put(tmp_path / "aside", name).parent.mkdir(exist_ok=True)
            (tmp_path / "adapters").mkdir(exist_ok=True)
            (tmp_path / "aside" / "adapters" / name).rename(tmp_path / "adapters" / name)
            while await told.get() != names:
                pass
    await shelf.close()


async def test_the_naming_of_unclaimed_ones_outlives_what_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unclaimed_adapters, "LOOK_S", 0.01)
    looks = 0
    twice = asyncio.Event()

    async def look(self: UnclaimedAdapters) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            twice.set()
        raise TypeError

    monkeypatch.setattr(UnclaimedAdapters, "look", look)
    following = asyncio.create_task(UnclaimedAdapters(tmp_path, [], lambda now: None).follow())
    async with asyncio.timeout(60):
        await twice.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


def test_no_more_than_so_many_are_looked_at(tmp_path: Path) -> None:
    for number in range(MOST + 1):
        (tmp_path / "adapters" / f"a{number:03}").mkdir(parents=True)
    assert len(read_adapters(tmp_path, "peft")[1]) == MOST


def test_a_changed_file_changes_the_fingerprint_and_the_version(tmp_path: Path) -> None:
    weights = put(tmp_path, "ada") / "adapter_model.safetensors"
    before, was = fingerprint(tmp_path / "adapters"), read_adapters(tmp_path, "peft")[0]["ada"]
    weights.write_bytes(b"other weights")
    assert fingerprint(tmp_path / "adapters") != before
    assert read_adapters(tmp_path, "peft")[0]["ada"] != was


def test_shapes_that_fit_their_layers_are_taken() -> None:
    check_shapes("ada", {DOWN: (4, 64), UP: (32, 4)}, LAYERS)


@pytest.mark.parametrize(
    "shapes",
    [
        {DOWN: (4, 32), UP: (32, 4)},
        {DOWN: (4, 64), UP: (64, 4)},
        {DOWN: (4, 64), UP: (32, 8)},
        {DOWN.replace("q", "z"): (4, 64), UP.replace("q", "z"): (32, 4)},
    ],
)
def test_another_model_s_shapes_are_mismatched(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(AdapterMismatched):
        check_shapes("ada", shapes, LAYERS)


def described(**config: Any) -> Lora:
    return Lora.model_validate(CONFIG | config)


@pytest.mark.parametrize(
    "config", [{}, {"r": 8, "rank_pattern": {"q": 4}}, {"r": 8, "rank_pattern": {"0.q": 4, "q": 9}}]
)
def test_the_rank_that_is_said_of_a_layer_is_the_weights_(config: dict[str, Any]) -> None:
    check_ranks("ada", described(**config), {DOWN: (4, 64), UP: (32, 4)})


@pytest.mark.parametrize(
    "config", [{"r": 4096}, {"rank_pattern": {"layers.0.q": 4096}}, {"r": 8, "rank_pattern": {"z": 4}}]
)
def test_room_for_another_rank_than_the_weights_have_is_never_made(config: dict[str, Any]) -> None:
    with pytest.raises(AdapterMismatched):
        check_ranks("ada", described(**config), {DOWN: (4, 64), UP: (32, 4)})


@pytest.mark.parametrize("shapes", [{}, {DOWN: (4, 64)}, {"something.else": (4, 64)}, {DOWN: (4,), UP: (32, 4)}])
def test_what_is_no_whole_lora_is_broken(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(AdapterBroken):
        check_shapes("ada", shapes, LAYERS)


async def test_one_that_no_model_here_takes_is_named_until_it_goes(tmp_path: Path) -> None:
    told: list[bool] = []
    specs = [
        ModelSpec(name="tiny", backend="transformers", path=tmp_path / "tiny"),
        ModelSpec(name="other", backend="llama_cpp", path=tmp_path / "other.gguf"),
    ]
    put(tmp_path, "ada")
    foreign = put(tmp_path, "foreign", base_model_name_or_path="tine")
    put(tmp_path, "format", base_model_name_or_path="other")
    unclaimed = UnclaimedAdapters(tmp_path, specs, told.append)
    await unclaimed.look()
    assert unclaimed.troubles() == ("foreign: adapter_mismatched", "format: adapter_mismatched")
    await unclaimed.look()
    assert told == [True], "nothing has changed"
    (foreign / "adapter.json").write_text('{"base": "tiny"}')
    await unclaimed.look()
    assert unclaimed.troubles() == ("format: adapter_mismatched",)
