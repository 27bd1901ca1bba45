"""From rated exchanges to an adapter that inference can read, or to a refusal that says why."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from libs.shared.contracts.training import AdapterOptions
from libs.shared.errors import InvalidRequest
from services.inference.adapters import read_adapters
from services.trainer.curation import shelf
from services.trainer.curation.datasets import Dataset, curate
from services.trainer.curation.exchanges import Exchange
from services.trainer.spec import AdapterSpec, EvaluateSpec, RunSpec
from tests.support import language_model
from tests.support.exchanges import exchange

pytestmark = pytest.mark.torch

PEOPLE = ("sister", "brother", "mother", "father", "cousin", "uncle", "aunt", "friend", "dog", "cat")


def rated(
    count: int = 10, *, answer: str = "your {} lives in a small house near the lake, as you told me"
) -> list[Exchange]:
    """Ten answers in as many conversations, all of one manner, each about somebody else."""
    return [
        exchange(
            f"c{at}", f"t{at}", question=f"where does my {who} live", answer=answer.format(f"{who} " * 9), rating=1
        )
        for at, who in enumerate(PEOPLE[:count])
    ]


def made(dataset: Dataset, folder: Path, *, rate: float, passes: float = 12.0, **about: Any) -> Any:
    import torch

    from services.trainer.adapter import make_adapter
    from services.trainer.configuration import Lora, Optimiser, Sft

    torch.set_num_threads(1)
    transformers: Any = import_module("transformers")
    source = language_model.cached() / language_model.FOLDER
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    config = Sft(
        batch=4,
        micro_batch=1,
        gradient_checkpointing=False,
        lora=Lora(rank=4, alpha=8),
        optimiser=Optimiser(learning_rate=rate),
    )
    target = folder / "adapters" / "ada"
    return make_adapter(config, model, tokenizer, dataset, folder / "run", target, base="tiny", passes=passes, **about)


def test_ten_rated_answers_make_an_adapter_that_helps(tmp_path: Path) -> None:
    dataset = curate(rated())
    assert dataset.card.conversations == {"train": 4, "held_out": 6}
    found = made(dataset, tmp_path, rate=5e-3)
    assert found.verdict is not None
    assert found.verdict.why == "better", found.verdict.reason
    assert found.folder == tmp_path / "adapters" / "ada"
    assert read_adapters(tmp_path, "peft")[0]["ada"].base == "tiny"
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["accepted"] is True
    again = made(dataset, tmp_path, rate=5e-3)
    assert again.verdict == found.verdict, "a run that is over is measured again, and trains no further"


def test_a_runs_process_makes_it_by_its_files_alone(tmp_path: Path) -> None:
    from services.trainer.answering import train_adapter

    options = AdapterOptions(passes=12.0, batch=4, rank=4, learning_rate=5e-3)
    about = AdapterSpec(base="tiny", dataset=shelf.keep(curate(rated()), tmp_path / "dataset"), options=options)
    source = language_model.cached() / language_model.FOLDER
    spec = RunSpec(model=source, seed=0, threads=1, adapter=about)
    told: list[str] = []

    def hear(phase: str, progress: object = None) -> None:
        told.append(phase)

    done = train_adapter(spec, about, tmp_path, tmp_path / "adapter", hear, lambda: False)
    assert done is not None
    assert (done.artefact, done.metrics["accepted"], done.metrics["held_out_conversations"]) == ("adapter", 1.0, 6.0)
    assert done.metrics["held_out_gain_low"] > 0
    assert done.detail is not None
    assert done.detail.startswith("accepted: ")
    assert list(dict.fromkeys(told)) == ["loading", "sft"]
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= {"adapter_model.safetensors", "adapter.gguf"}
    assert train_adapter(spec, about, tmp_path, tmp_path / "adapter", hear, lambda: False) == done
    assert any(name.startswith("repeated four-token runs") for name in done.metrics)
    check_that_it_is_measured_anew(spec, tmp_path)


def check_that_it_is_measured_anew(spec: RunSpec, folder: Path) -> None:
    """By its files, on conversations that it never met; and by nothing where there are too few of those."""
    from services.trainer.measuring_anew import measure_anew

    def hear(phase: str, progress: object = None) -> None: ...

    for others, artefact in ((rated(8), "ada"), (rated(4), None)):
        kept = shelf.keep(curate(others), folder / f"others-{len(others)}")
        about = EvaluateSpec(name="ada", adapter=folder / "adapter", dataset=kept)
        done = measure_anew(spec.model_copy(update={"adapter": None}), about, folder, hear)
        assert done.artefact == artefact, done.detail
        assert done.detail is not None
        assert done.detail.startswith("accepted: " if artefact else "undecided: it learnt nothing from 4 conversations")


def test_what_learnt_nothing_is_refused_and_not_written(tmp_path: Path) -> None:
    found = made(curate(rated()), tmp_path, rate=1e-9, passes=1.0)
    assert found.verdict is not None
    assert found.verdict.why == "within_noise"
    assert found.folder is None
    assert not (tmp_path / "adapters").exists()


def test_a_stopped_run_has_no_verdict(tmp_path: Path) -> None:
    found = made(curate(rated()), tmp_path, rate=5e-3, stop=lambda: True)
    assert (found.outcome.ended, found.verdict, found.folder) == ("stopped", None, None)


def test_too_little_to_measure_on_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"answers of 4 conversations are held out.*rate or allow more") as caught:
        made(curate(rated(9)), tmp_path, rate=5e-3)
    assert caught.value.data == {"held_out": 4}
    assert not (tmp_path / "run").exists()
