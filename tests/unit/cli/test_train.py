"""Training runs on the command line: texts are copied once and privately, and a run is told in a line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.training.asking import bring
from cli.training.showing import duration, facts, measures, row, standing
from libs.shared.contracts.training import MntpOptions, RunKind, RunProgress, RunState, TrainingRun
from libs.shared.layout import StateFolder

RUN = TrainingRun(
    run_id="r1",
    kind=RunKind.MNTP,
    state=RunState.RUNNING,
    model="llama",
    text="diary.txt",
    seed=0,
    options=MntpOptions(),
    created_at=datetime(2026, 5, 4, 9, 30, tzinfo=UTC),
)


def test_a_text_is_copied_once_for_the_owner_alone(tmp_path: Path) -> None:
    folder, text = StateFolder(tmp_path / "state"), tmp_path / "diary.txt"
    folder.root.mkdir()
    text.write_text("Monday. It rained.")
    name = bring(folder, text)
    assert bring(folder, text) == name
    copied = folder.training_texts / name
    assert copied.read_text() == "Monday. It rained."
    assert copied.stat().st_mode & 0o777 == 0o600
    assert list(folder.training_texts.iterdir()) == [copied]
    assert bring(folder, copied) == name, "what lies there already is used where it lies"


@pytest.mark.parametrize("content", [None, b"", b" \n\n"])
def test_a_text_that_is_missing_or_empty_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(CommandError):
        bring(StateFolder(tmp_path), tmp_path / "text")


def test_where_a_run_stands_is_one_line() -> None:
    progress = RunProgress(
        phase="mntp",
        step=30,
        steps=100,
        loss=3.25,
        tokens_per_s=12345.0,
        mfu=0.51,
        seconds_left=125.0,
        held_by=("hot",),
    )
    assert standing(progress) == (
        "masked next-token prediction, 30/100, loss 3.250, 12,345 tokens/s, 51 % of the peak, "
        "2 min left, makes way: hot"
    )
    assert row(RUN.model_copy(update={"progress": progress}))[4] == standing(progress)


def test_a_run_that_failed_says_why_and_one_that_is_done_how_its_result_is_used(tmp_path: Path) -> None:
    failed = RUN.model_copy(update={"state": RunState.FAILED, "error": "model_does_not_fit", "detail": "it needs more"})
    assert ("because", "it needs more (model_does_not_fit)") in list(facts(failed, tmp_path))
    done = RUN.model_copy(update={"state": RunState.DONE, "artefact": "tiny-r1", "metrics": {"mntp_loss_last": 2.0}})
    said = dict(facts(done, tmp_path))
    assert said["result"] == "encoder tiny-r1; measure it with: mongars train evaluate tiny-r1 --sts FILE"
    assert said["mntp loss last"] == "2"
    better = done.model_copy(update={"metrics": {"accepted": 1.0}})
    assert dict(facts(better, tmp_path))["result"].endswith("put it to use with: mongars embedders use tiny-r1")


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (150, "2 min"), (12600, "3.5 h")])
def test_durations_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_what_was_measured_is_a_table_and_not_a_heap_of_figures(tmp_path: Path) -> None:
    numbers = {"before": 0.4, "after": 0.6, "gain": 0.2, "low": 0.1, "high": 0.3, "units": 12.0}
    worse = numbers | {"gain": -0.2, "low": -0.3, "high": -0.1}
    metrics = {f"recall, {part}": value for part, value in numbers.items()}
    metrics |= {f"Spearman on rated pairs, against granite@1, {part}": value for part, value in worse.items()}
    run = RUN.model_copy(update={"state": RunState.DONE, "metrics": metrics | {"accepted": 0.0, "unsure, before": 1.0}})
    assert measures(run) == [
        ("recall", "0.4", "0.6", "0.2", "0.1 to 0.3", "better"),
        ("Spearman on rated pairs, against granite@1", "0.4", "0.6", "-0.2", "-0.3 to -0.1", "worse"),
        ("unsure", "1", "?", "?", "? to ?", "can't be told"),
    ]
    assert [name for name, _ in facts(run, tmp_path) if "recall" in name or "Spearman" in name] == []
