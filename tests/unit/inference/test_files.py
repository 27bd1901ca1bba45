"""Models on disk: what their headers say, what they need, which are broken."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.shared.errors import ModelBroken, ModelDoesNotFit
from libs.shared.gguf import read_header
from services.inference import fit, gguf
from services.inference.inspection import TRIES, Attempts, inspect
from services.inference.models import ModelSpec
from tests.support import language_model

GIB_MIB = 1024.0


@pytest.fixture(scope="session")
def tiny() -> Path:
    return language_model.cached() / language_model.GGUF_FILE


@pytest.fixture(scope="session")
def folder() -> Path:
    return language_model.cached() / language_model.FOLDER


def spec(path: Path, backend: str = "llama_cpp", **more: object) -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "backend": backend, "path": path, **more})


def test_a_header_tells_context_and_template(tiny: Path) -> None:
    header = read_header(tiny)
    assert header.context_tokens == language_model.CONTEXT_TOKENS
    assert header.chat_template == language_model.TEMPLATE


def test_memory_grows_with_context_and_slots_as_computed_by_hand(tiny: Path) -> None:
    header = read_header(tiny)
    shape = gguf.shape(tiny, header, 1000, 3)
    # two layers, two key-value heads of 16 for keys and 16 for values, two bytes each
    assert shape.needs.cache == 2 * 2 * (16 + 16) * 2 * 1000 * 3
    assert shape.needs.weights == tiny.stat().st_size


def test_a_context_beyond_the_trained_one_is_cut(tiny: Path) -> None:
    assert gguf.shape(tiny, read_header(tiny), 10**6, 1).context_tokens == language_model.CONTEXT_TOKENS


def test_a_folder_tells_context_and_need(folder: Path) -> None:
    shape = fit.folder_shape(folder, None, 512)
    assert shape.context_tokens == 512
    assert shape.needs.weights == (folder / "model.safetensors").stat().st_size


def check_that_too_large_is_refused(check: object, path: Path) -> None:
    with pytest.raises(ModelDoesNotFit) as refused:
        check(  # type: ignore[operator]
            spec(path, options={"slots": 100_000}), default_context_tokens=1024, available_mib=lambda: 4 * GIB_MIB
        )
    assert refused.value.data["needed_mib"] > refused.value.data["available_mib"]


def test_a_model_that_will_not_fit_is_refused_with_figures(tiny: Path) -> None:
    check_that_too_large_is_refused(inspect, tiny)


def test_the_check_of_fit_notices_weights_weighed_alone(tiny: Path) -> None:
    def weights_alone(given: ModelSpec, **_: object) -> None:
        fit.check_fit("m", fit.Needs(given.path.stat().st_size if given.path else 0, 0), 4 * GIB_MIB)

    with pytest.raises(pytest.fail.Exception):
        check_that_too_large_is_refused(weights_alone, tiny)


def test_one_that_fits_is_let_through(tiny: Path, folder: Path) -> None:
    inspect(spec(tiny), default_context_tokens=1024, available_mib=lambda: GIB_MIB)
    inspect(spec(folder, "transformers"), default_context_tokens=1024, available_mib=lambda: GIB_MIB)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 20_000), flip=st.integers(0, 2000), value=st.integers(0, 255))
def test_damage_anywhere_in_a_header_is_broken_or_readable_never_a_crash(
    tiny: Path, tmp_path: Path, cut: int, flip: int, value: int
) -> None:
    data = bytearray(tiny.read_bytes()[:cut])
    if flip < len(data):
        data[flip] = value
    path = tmp_path / "damaged.gguf"
    path.write_bytes(data)
    try:
        read_header(path)
    except ModelBroken:
        return


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a model at all, but long enough to have a header",
        b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60),
        b"GGUF" + struct.pack("<IQQ", 99, 1, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
    ],
)
def test_what_is_no_model_is_broken(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelBroken):
        read_header(path)


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"num_attention_heads": 0, "hidden_size": 8}'])
def test_a_folder_without_a_readable_model_is_broken(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelBroken):
        fit.folder_shape(tmp_path, None, 1024)


def test_a_folder_without_weights_is_broken(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ModelBroken):
        fit.folder_shape(tmp_path, None, 1024)


def test_a_file_that_ended_the_process_is_left_alone_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x")
    attempts = Attempts(tmp_path / "run")
    for _ in range(TRIES):
        attempts.begin(spec(path))
    with pytest.raises(ModelBroken):
        attempts.begin(spec(path))
    os.utime(path, ns=(1, 1))
    attempts.begin(spec(path))


def test_a_load_that_ended_in_order_is_not_held_against_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x")
    attempts = Attempts(tmp_path / "run")
    for _ in range(TRIES + 2):
        attempts.begin(spec(path))
        attempts.end(spec(path))


def test_a_spoilt_mark_is_no_attempt(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x")
    attempts = Attempts(tmp_path)
    (tmp_path / "m.loading").write_text(json.dumps([1]))
    attempts.begin(spec(path))
