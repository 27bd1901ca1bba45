"""Which model and machine a kept pace belongs to, and files that can't be understood."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.shared.hardware.boards import Board, Family
from services.inference import kept_rates
from services.inference.kept_rates import END_BYTES, MOST_FILES, KeptRates, RatesFile
from services.inference.models import ModelSpec

AT = datetime(2026, 11, 30, tzinfo=UTC)
KEPT = KeptRates(model="m", prompt_tokens_per_s=100.0, generated_tokens_per_s=10.0, source="trial", measured_at=AT)


def gguf(path: Path, content: bytes) -> ModelSpec:
    path.write_bytes(content)
    return ModelSpec(name="m", backend="llama_cpp", path=path)


def test_what_was_written_is_read_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    file = RatesFile(tmp_path / "rates", "a")
    assert file.read() is None
    file.write(KEPT)
    assert file.read() == KEPT
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "rates", tmp_path / "rates" / "a.json")] == [
        0o700,
        0o600,
    ]
    assert [path.name for path in (tmp_path / "rates").iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        KEPT.model_dump_json().replace("100.0", "0").encode(),
        KEPT.model_dump_json().replace("100.0", "-1").encode(),
        KEPT.model_dump_json().replace("100.0", "Infinity").encode(),
        KEPT.model_dump_json().replace("T00:00:00Z", "T00:00:00").encode(),
    ],
)
def test_a_file_that_cannot_be_understood_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert RatesFile(tmp_path, "a").read() is None


def test_the_files_of_models_long_gone_are_forgotten(tmp_path: Path) -> None:
    for number in range(MOST_FILES):
        (tmp_path / f"old-{number}.json").touch()
        os.utime(tmp_path / f"old-{number}.json", (number, number))
    RatesFile(tmp_path, "new").write(KEPT)
    assert len(list(tmp_path.iterdir())) == MOST_FILES
    assert not (tmp_path / "old-0.json").exists()
    assert (tmp_path / "new.json").exists()


@pytest.mark.parametrize("place", [0, 3 * END_BYTES - 1])
def test_other_weights_have_another_key(tmp_path: Path, place: int) -> None:
    content = bytearray(3 * END_BYTES)
    before = kept_rates.key(gguf(tmp_path / "m.gguf", bytes(content)), "here", 4)
    content[place] = 1
    assert kept_rates.key(gguf(tmp_path / "m.gguf", bytes(content)), "here", 4) != before


def test_a_change_of_machine_threads_or_options_has_another_key(tmp_path: Path) -> None:
    spec = gguf(tmp_path / "m.gguf", b"weights")
    keys = {
        kept_rates.key(spec, "here", 4),
        kept_rates.key(spec, "there", 4),
        kept_rates.key(spec, "here", 2),
        kept_rates.key(spec.model_copy(update={"options": {"gpu_layers": 0}}), "here", 4),
    }
    assert len(keys) == 4
    assert kept_rates.key(spec, "here", 4) in keys


def test_a_folder_is_known_by_its_weights_and_a_hub_id_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    folder = ModelSpec(name="m", backend="transformers", path=tmp_path)
    before = kept_rates.fingerprint(folder)
    (tmp_path / "README.md").write_text("notes")
    assert kept_rates.fingerprint(folder) == before
    (tmp_path / "model.safetensors").write_bytes(b"others.")
    assert kept_rates.fingerprint(folder) != before
    hub = ModelSpec(name="m", backend="transformers", hub="someone/model")
    assert kept_rates.fingerprint(hub) != kept_rates.fingerprint(hub.model_copy(update={"hub": "someone/other"}))


def test_another_version_of_the_library_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gguf(tmp_path / "m.gguf", b"weights")
    keys = set()
    for number in ("1", "2"):
        monkeypatch.setattr(kept_rates, "version", lambda name, number=number: number)
        keys.add(kept_rates.key(spec, "here", 4))
    assert len(keys) == 2
    assert kept_rates.libraries("llama_cpp") == ["xllamacpp 2"]
    monkeypatch.undo()
    monkeypatch.setitem(kept_rates.LIBRARIES, "llama_cpp", ("no-such-library",))
    assert kept_rates.libraries("llama_cpp") == []


def test_a_model_whose_name_is_no_text_has_a_key(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.gguf"))
    assert kept_rates.key(gguf(path, b"weights"), "here", 4)


PI = Board("Raspberry Pi 5", Family.PI_5)


def test_a_machine_is_known_by_its_id_and_its_board(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "machine-id").write_text("abc\n")
    assert kept_rates.machine(tmp_path, PI, {}) == "abc | Raspberry Pi 5"
    assert kept_rates.machine(tmp_path / "none", PI, {}) != "abc | Raspberry Pi 5"
    (tmp_path / "etc" / "machine-id").write_bytes(b"\xff")
    assert kept_rates.machine(tmp_path, PI, {}) == kept_rates.machine(tmp_path / "none", PI, {})


def test_a_machine_with_another_gpu_or_a_hidden_one_is_another(tmp_path: Path) -> None:
    before = kept_rates.machine(tmp_path, PI, {})
    told = tmp_path / "proc" / "driver" / "nvidia" / "gpus" / "0000:01:00.0" / "information"
    told.parent.mkdir(parents=True)
    told.write_text("Model: \t NVIDIA RTX A2000\n")
    machines = {
        before,
        kept_rates.machine(tmp_path, PI, {}),
        kept_rates.machine(tmp_path, PI, {"CUDA_VISIBLE_DEVICES": ""}),
        kept_rates.machine(tmp_path, PI, {"CUDA_VISIBLE_DEVICES": "0"}),
    }
    assert len(machines) == 4


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RatesFile(tmp_path, "a")
    file.write(KEPT)

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        file.write(KEPT.model_copy(update={"source": "requests"}))
    assert file.read() == KEPT
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_process_had_begun_to_write_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / ".new-left").touch()
    os.utime(tmp_path / ".new-left", (1, 1))
    (tmp_path / ".new-under-way").touch()
    RatesFile(tmp_path, "a").write(KEPT)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new-under-way", "a.json"]


def test_a_file_that_cannot_be_forgotten_does_not_hinder_the_writing(tmp_path: Path) -> None:
    for number in range(MOST_FILES):
        (tmp_path / f"old-{number}.json").mkdir()
        os.utime(tmp_path / f"old-{number}.json", (number, number))
    file = RatesFile(tmp_path, "a")
    file.write(KEPT)
    assert file.read() == KEPT


def test_the_mark_of_a_trial_stays_until_it_has_ended(tmp_path: Path) -> None:
    file = RatesFile(tmp_path / "rates", "a")
    assert file.begin_trying()
    assert not RatesFile(tmp_path / "rates", "a").begin_trying()
    file.end_trying()
    assert file.begin_trying()
