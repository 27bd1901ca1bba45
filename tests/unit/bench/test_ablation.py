"""The ablation from end to end on a decoder of one layer, and how its settings are told."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from bench.training import __main__ as command
from bench.training.ablation import STAGES, whitened
from bench.training.data import apart
from bench.training.seeds import chosen

SMALL = ("vocabulary=300", "width=16", "layers=1", "heads=2", "batch=4", "passes=0.1", "block_tokens=16")


def test_every_stage_is_measured_on_every_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, figures, drawn = tmp_path / "valid.txt", tmp_path / "figures.json", tmp_path / "stages.svg"
    text.write_text("".join(f" The river {at} flows to the sea and {at} boats sail on it .\n" for at in range(200)))
    splits = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for at, path in enumerate(splits):
        rows = [
            ("A boat sails.", "A ship sails.", 4.5),
            ("The sea is wide.", "A man eats.", 0.5),
            ("It rains.", "Rain.", 4),
        ]
        path.write_text("".join(f"g\tf\ty\t{n}\t{score}\t{a}\t{b} {at}\n" for n, (a, b, score) in enumerate(rows)))
    told = [
        "ablation",
        "--text",
        str(text),
        "--sts",
        *map(str, splits),
        "--seeds",
        "2",
        "--cache",
        str(tmp_path / "kept"),
    ]
    told += ["--json", str(figures), "--picture", str(drawn), "--shape", *SMALL]
    told += ["--mntp", "steps=2", "batch=4", "micro_batch=4", "block_tokens=16", "--simcse", "steps=2", "batch=4"]
    monkeypatch.setattr(sys, "argv", ["bench.training", *told])
    with pytest.raises(SystemExit):
        command.main()
    found = json.loads(figures.read_text())
    assert len(found["seeds"]) == 2
    assert all(set(one["stages"]) == set(STAGES) for one in found["seeds"])
    assert found["seeds"][0]["stages"]["causal"]["spearman"].keys() == {"one", "two"} == found["lifts"].keys()
    assert re.search(r"\+ SimCSE +\| -?[\d.]+ ± [\d.]+", capsys.readouterr().out)
    assert drawn.read_text().count("<polyline") == 4


def test_settings_are_told_by_name() -> None:
    recipe = chosen(["layers=6"], ["learning_rate=0.002"], ["batch=256", "learning_rate=0.001"])
    assert (recipe.shape.layers, recipe.simcse.batch) == (6, 256)
    assert (recipe.mntp.optimiser.learning_rate, recipe.simcse.optimiser.learning_rate) == (0.002, 0.001)
    with pytest.raises(ValueError, match="'depth' is none of"):
        chosen(["depth=6"], [], [])


def test_seeds_differ_in_what_they_draw_alone() -> None:
    recipe = chosen([], [], [])
    first, second = recipe.seeded(1), recipe.seeded(2)
    assert (first.mntp.seed, first.simcse.seed, second.mntp.seed) == (1, 1, 2)
    assert first.seeded(2) == second


def test_text_is_trained_on_or_kept_apart() -> None:
    paragraphs = [str(at) for at in range(100)]
    kept, unread = apart(paragraphs)
    assert sorted(kept + unread, key=int) == paragraphs
    assert len(unread) == 5


def test_whitening_finds_what_one_direction_hides() -> None:
    draw = torch.Generator().manual_seed(0)
    meaning = torch.randn(50, 4, generator=draw)
    loud = 100 * torch.randn(100, 1, generator=draw) + 500
    vectors = torch.cat((torch.cat((meaning, meaning)), loud), dim=1)
    assert float(whitened(*vectors.chunk(2)).mean()) > 0.7
