"""Which model suits a machine, what a reference means, when a model is offered, and how models are listed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.installation import Installation, Marker, Ports, load, write_marker
from cli.models import catalogue, offer, shelf
from cli.models.catalogue import Machine, misfit, profile_of, suggest
from cli.models.catalogue import catalogue as known
from cli.models.offer import Situation, worth_asking
from cli.models.pulling import Source
from cli.models.reference import Reference, choose, parse
from cli.models.serving import Serving, value_for
from cli.models.table import joined, shown
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.layout import StateFolder
from libs.shared.roles import Role
from tests.support.hub import LocalHub, Upstream, in_a_thread

PI_4 = Machine(total_mib=3790, available_mib=2600, free_disk_mib=20_000)
PI_5 = Machine(total_mib=7900, available_mib=5600, free_disk_mib=60_000)
WORKSTATION = Machine(total_mib=31_900, available_mib=24_000, free_disk_mib=200_000)
FILES = ("model-Q4_K_M.gguf", "model-Q4_K_S.gguf", "model-Q8_0.gguf", "mmproj-f16.gguf", "README.md")


@pytest.mark.parametrize(
    ("machine", "profile", "file"),
    [
        (PI_4, "pi4-4gb", "qwen2.5-1.5b-instruct-q4_k_m.gguf"),
        (PI_5, "pi5-8gb", "Qwen3-4B-Instruct-2507-Q4_K_M.gguf"),
        (WORKSTATION, "workstation", "Qwen3-4B-Instruct-2507-Q4_K_M.gguf"),
        (replace(WORKSTATION, gpu_mib=24_000), "gpu", "Qwen2.5-14B-Instruct-Q4_K_M.gguf"),
        (replace(PI_4, available_mib=1300), "pi4-4gb", "qwen2.5-0.5b-instruct-q4_k_m.gguf"),
    ],
)
def test_a_machine_gets_the_best_model_that_fits_now(machine: Machine, profile: str, file: str) -> None:
    choice = suggest("chat", machine, known())
    assert (choice.profile, choice.fitting[0].file) == (profile, file)


def test_nothing_is_proposed_that_would_fill_memory_or_disk() -> None:
    for tight in (replace(PI_5, available_mib=500), replace(PI_5, free_disk_mib=600)):
        choice = suggest("chat", tight, known())
        assert choice.fitting == ()
        assert len(choice.refused) == len(profile_of(tight, known().profiles).chat)


def test_the_hubs_size_counts_and_not_the_hint() -> None:
    model = known().models[0]
    assert misfit(model, PI_4, None) is None
    assert "memory" in str(misfit(model, PI_4, 4 * 2**30))


def test_the_catalogue_is_whole() -> None:
    files = known().by_file()
    assert len(files) == len(known().models)
    for profile in known().profiles:
        assert all("chat" in files[file].roles for file in profile.chat)
        assert all("code" in files[file].roles for file in profile.code)
    assert all(model.licence in {"apache-2.0", "mit"} for model in known().models)
    assert all(model.memory_mib >= model.size_hint_mib + catalogue.KEPT_FREE_MIB for model in known().models)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Acme/Tiny-GGUF", Reference("Acme/Tiny-GGUF")),
        ("Acme/Tiny-GGUF:Q4_K_M", Reference("Acme/Tiny-GGUF", "Q4_K_M")),
        ("Acme/Tiny-GGUF@v2:sub/tiny.gguf", Reference("Acme/Tiny-GGUF", "sub/tiny.gguf", "v2")),
    ],
)
def test_a_reference_is_read(text: str, reference: Reference) -> None:
    assert parse(text) == reference


@pytest.mark.parametrize("text", ["tiny", "a/b/c", "../..", "a/b:../../etc/passwd", "http://host/a.gguf", "a/b:/x"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(CommandError):
        parse(text)


def test_a_file_is_chosen_by_name_or_quantisation_and_the_usual_one_otherwise() -> None:
    assert choose(FILES, None, "r") == ("model-Q4_K_M.gguf",)
    assert choose(FILES, "q8_0", "r") == ("model-Q8_0.gguf",)
    assert choose(FILES, "model-q4_k_s.gguf", "r") == ("model-Q4_K_S.gguf",)
    for wanted in ("q4_k", "mmproj-f16.gguf", "q2_k"):
        with pytest.raises(CommandError, match="has no"):
            choose(FILES, wanted, "r")
    with pytest.raises(CommandError, match="no GGUF"):
        choose(("README.md",), None, "r")


def test_a_split_model_is_chosen_whole_or_not_at_all() -> None:
    parts = [f"m-q4_k_m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert choose(parts, "Q4_K_M", "r") == tuple(parts)
    with pytest.raises(CommandError, match="lacks"):
        choose(parts[:2], None, "r")


ASKS = Situation(terminal=True, declined=False, degraded=("no-model",), on_shelf=0, can_run=True)


def test_a_model_is_offered_only_on_a_terminal_where_none_is_and_none_is_coming() -> None:
    assert worth_asking(ASKS)
    assert worth_asking(replace(ASKS, degraded=("extractive: loading", "no-model"))), (
        "what quotes is no model to wait for"
    )
    assert not worth_asking(replace(ASKS, terminal=False))
    assert not worth_asking(replace(ASKS, declined=True))
    assert not worth_asking(replace(ASKS, degraded=()))
    assert not worth_asking(replace(ASKS, degraded=("no-model", "big: loading")))
    assert not worth_asking(replace(ASKS, degraded=("no-model", "ollama: looking")))
    assert not worth_asking(replace(ASKS, on_shelf=1)), "a broken model is mended, not joined by another"
    assert not worth_asking(replace(ASKS, can_run=False))


def served(name: str, kind: str = "chat", backend: str = "llama_cpp") -> ServedModel:
    return ServedModel(name=name, backend=backend, kind=kind, context_tokens=100)


def installed(folder: Path) -> Installation:
    ports = Ports(http=1, nats=2)
    marker = Marker(format=1, installation_id="i", product_version="0", created_at=datetime.now(UTC), ports=ports)
    return write_marker(StateFolder(folder), marker)


def test_a_no_is_remembered_and_says_how_to_do_it_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["what?", "non"])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    monkeypatch.setattr(offer, "find_spec", lambda _: object())
    monkeypatch.setattr("cli.models.machine.look_at", lambda _: PI_5)
    hub = LocalHub({model.repository: {model.file: Upstream(b"GGUF")} for model in known().models})
    with in_a_thread(hub):
        offer.offer(installed(tmp_path), Source(hub.url), ("no-model",), terminal=True)
        assert "Qwen3 4B" in capsys.readouterr().out
        assert load(tmp_path).marker.model_declined
        offer.offer(load(tmp_path), Source(hub.url), ("no-model",), terminal=True)
    assert capsys.readouterr().out == "", "not asked again"
    assert hub.requests == []


def test_without_a_network_the_offer_is_one_word_and_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    offer.offer(installed(tmp_path), Source("http://127.0.0.1:9"), ("no-model",), terminal=True)
    said = capsys.readouterr().out
    assert "mongars models pull" in said
    assert "can't be reached" in said or "no model of the list fits" in said
    assert not load(tmp_path).marker.model_declined, "what could not be asked was not refused"


def test_models_are_listed_once_whether_served_or_only_there(tmp_path: Path) -> None:
    manifest = shelf.Manifest(
        source="hub", origin="a/b@c:f", licence="mit", size=1, checksum="00", vouched_by="the hub", at=datetime.now(UTC)
    )
    here = shelf.Present("tiny", tmp_path / "tiny.gguf", 1, 50, manifest)
    broken = shelf.Present("worn", tmp_path / "worn.gguf", 1, None, None, "it ends early")
    heavy = shelf.Present("heavy", tmp_path / "heavy.gguf", 1, 50, None)
    told = Serving(
        {m.name: m for m in (served("tiny"), served("extractive", backend="extractive"), served("mini", "embed"))},
        RuntimeSettings(default_model="tiny"),
        {"chat": "tiny", "code": "tiny", "embed": "mini"},
        ("heavy: model_does_not_fit",),
    )
    rows = {row["name"]: row for row in joined([here, broken, heavy], told)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "heavy": "model_does_not_fit",
        "mini": "served",
        "tiny": "served",
        "worn": "model_broken",
    }
    assert (rows["tiny"]["roles"], rows["tiny"]["licence"]) == (["chat", "code"], "mit")
    assert told.given("tiny") == ["chat"]


def test_a_model_s_adapters_stand_behind_it_each_with_the_roles_that_are_its_own() -> None:
    tiny = served("tiny").model_copy(update={"adapters": ("ada", "bea")})
    told = Serving(
        {m.name: m for m in (tiny, served("tiny:bea"))}, RuntimeSettings(), {"chat": "tiny:ada", "code": "tiny"}
    )
    rows = joined([], told)
    assert [(row["name"], row["adapter_of"], row["roles"]) for row in rows] == [
        ("tiny", None, ["code"]),
        ("tiny:ada", "tiny", ["chat"]),
        ("tiny:bea", None, []),
    ]
    assert shown(rows[1])[-1] == "adapter of tiny"


def test_a_remote_model_is_marked_in_the_list() -> None:
    far = ServedModel(name="afar/big", backend="openai", context_tokens=100, remote=True, upstream="afar")
    near = ServedModel(name="small", backend="openai", context_tokens=100, upstream="shed")
    rows = joined([], Serving({m.name: m for m in (far, near)}, RuntimeSettings(), {}, ()))
    assert [(row["source"], row["remote"]) for row in rows] == [("afar (remote)", True), ("shed", False)]


ADAPTED = ServedModel(name="tiny", backend="transformers", context_tokens=2048, adapters=("ada",))
EMBEDDER = ServedModel(name="minilm", backend="onnx", context_tokens=256, kind="embed", embedder="minilm@1")


def test_a_role_can_be_given_to_a_model_with_one_of_its_adapters() -> None:
    told = Serving({"tiny": ADAPTED, "minilm": EMBEDDER})
    assert value_for("chat", "tiny:ada", told) == "tiny:ada"
    assert value_for("code", "tiny", told) == "tiny"
    assert value_for("embed", "minilm", told) == "minilm@1"
    for role, name in (("chat", "tiny:bea"), ("chat", "other:ada"), ("embed", "tiny:ada"), ("chat", ":ada")):
        with pytest.raises(CommandError):
            value_for(role, name, told)  # type: ignore[arg-type]


def test_a_model_has_the_roles_that_it_has_with_an_adapter() -> None:
    settings = RuntimeSettings(default_model="tiny:ada", code_model="tiny:8b")
    other = ServedModel(name="tiny:8b", backend="ollama", context_tokens=2048)
    defaults: dict[Role, str | None] = {"chat": "tiny:ada", "code": "tiny:8b"}
    told = Serving({"tiny": ADAPTED, "tiny:8b": other}, settings, defaults)
    assert (told.roles("tiny"), told.given("tiny")) == (["chat"], ["chat"]), "so that it isn't removed unnoticed"
    assert told.roles("tiny:8b") == ["code"], "which is no adapter of tiny's"
