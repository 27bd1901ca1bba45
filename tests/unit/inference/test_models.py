"""What a node decides to serve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.inference.models import ModelSpec, read_catalogue
from services.inference.settings import InferenceSettings, default_node_id


def bare(folder: Path, *names: str) -> None:
    for name in names:
        if name.endswith(".gguf"):
            (folder / name).write_bytes(b"GGUF")
        else:
            (folder / name).mkdir()
            (folder / name / "config.json").write_text("{}")


def names(folder: Path, *configured: ModelSpec, ollama: str | None = None) -> list[tuple[str, str]]:
    return [(spec.name, spec.backend) for spec in read_catalogue(folder, configured, ollama).specs]


def test_bare_files_and_folders_are_found_by_themselves(tmp_path: Path) -> None:
    bare(tmp_path, "llama.gguf", "qwen", "embedder")
    (tmp_path / "notes.txt").write_text("x")
    assert names(tmp_path) == [("llama", "llama_cpp"), ("qwen", "transformers")]


def test_what_lies_on_a_server_is_looked_for_and_what_lies_here_loaded(tmp_path: Path) -> None:
    bare(tmp_path, "llama.gguf")
    found = read_catalogue(tmp_path, (), "http://127.0.0.1:11434").specs
    assert {spec.label: spec.coming for spec in found} == {"llama": "loading", "ollama": "looking"}
    assert ModelSpec(backend="extractive").coming == "loading"


def test_a_gguf_beside_a_folder_of_its_name_keeps_its_ending(tmp_path: Path) -> None:
    bare(tmp_path, "tiny", "tiny.gguf")
    assert names(tmp_path) == [("tiny", "transformers"), ("tiny.gguf", "llama_cpp")]


def test_the_parts_of_a_split_model_are_one(tmp_path: Path) -> None:
    bare(tmp_path, "big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "mmproj-big.gguf")
    assert names(tmp_path) == [("big", "llama_cpp")]


def test_a_configured_file_is_not_found_a_second_time(tmp_path: Path) -> None:
    bare(tmp_path, "llama.gguf")
    spec = ModelSpec(name="chat", backend="llama_cpp", path=Path("llama.gguf"))
    assert names(tmp_path, spec) == [("chat", "llama_cpp")]


def test_a_name_taken_twice_is_refused_by_label(tmp_path: Path) -> None:
    specs = [ModelSpec(name="same", backend="llama_cpp", path=Path(f"{n}.gguf")) for n in "ab"]
    catalogue = read_catalogue(tmp_path, specs, None)
    assert len(catalogue.specs) == 1
    assert catalogue.refused == {"same": "name-taken"}


def test_an_unreadable_configuration_hides_nothing_else(tmp_path: Path) -> None:
    bare(tmp_path, "llama.gguf")
    (tmp_path / "models.json").write_text('[{"name": "x", "backend": "unheard-of"}]')
    catalogue = read_catalogue(tmp_path, (), None)
    assert [spec.name for spec in catalogue.specs] == ["llama"]
    assert catalogue.refused == {"models.json": "unreadable-configuration"}


def test_the_configuration_file_is_read(tmp_path: Path) -> None:
    entry = {"name": "up", "backend": "openai", "url": "http://127.0.0.1:9/v1", "context_tokens": 4096}
    (tmp_path / "models.json").write_text(json.dumps([entry]))
    assert names(tmp_path) == [("up", "openai")]


def test_an_ollama_is_asked_unless_one_is_configured(tmp_path: Path) -> None:
    assert names(tmp_path, ollama="http://127.0.0.1:11434") == [("", "ollama")]
    own = ModelSpec(backend="ollama", url="http://127.0.0.1:9")
    assert names(tmp_path, own, ollama="http://127.0.0.1:11434") == [("", "ollama")]


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "x", "backend": "llama_cpp"},
        {"name": "", "backend": "transformers", "path": "x"},
        {"name": "x", "backend": "openai"},
        {"name": "x", "backend": "openai", "url": "file:///etc/passwd"},
        {"name": "x", "backend": "no-such"},
        {"name": "x", "backend": "llama_cpp", "path": "x", "slots": 2},
        {"name": "x", "backend": "llama_cpp", "path": "x", "options": {"slots": "many"}},
    ],
)
def test_a_specification_that_cannot_work_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelSpec.model_validate(entry)


@pytest.mark.parametrize(
    ("hostname", "node_id"),
    [("Pi-5.local", "pi-5"), ("Élan_2", "lan-2"), ("---", "node"), ("a" * 80, "a" * 60)],
)
def test_a_hostname_becomes_a_subject_safe_id(hostname: str, node_id: str) -> None:
    assert default_node_id(hostname) == node_id


def test_models_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGARS_MODELS", '[{"name": "i", "backend": "bench.instant:InstantBackend"}]')
    monkeypatch.setenv("MONGARS_OLLAMA_URL", "none")
    settings = InferenceSettings()
    assert settings.models[0].backend == "bench.instant:InstantBackend"
    assert settings.ollama is None


def test_endpoints_elsewhere_are_one_pool_and_each_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGARS_RAY_ENDPOINTS", " http://a:8000/v1 ,https://b.example/v1,,http://a:8000/v1")
    settings = InferenceSettings()
    (pool,) = settings.endpoint_pool
    assert (pool.backend, pool.server, pool.urls) == ("endpoints", "ray", ("http://a:8000/v1", "https://b.example/v1"))
    assert pool.slots(1) == settings.ray_endpoint_slots
    assert InferenceSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_without_endpoints_there_is_no_pool() -> None:
    assert InferenceSettings().endpoint_pool == ()


@pytest.mark.parametrize(
    "url", ["a:8000", "ftp://a/v1", "http://me:secret@a/v1", "http://a/v1?key=secret", "http://a:99999/v1"]
)
def test_an_endpoint_that_is_no_plain_address_is_refused_at_the_start(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGARS_RAY_ENDPOINTS", f"http://a/v1,{url}")
    with pytest.raises(ValidationError, match="number 2 is no plain") as refused:
        InferenceSettings()
    assert url not in str(refused.value)
