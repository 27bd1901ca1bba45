"""Folders of runs that have ended don't become ever more, and no result goes with them unasked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.training import (
    FORGET_RUN,
    LIST_RUNS,
    READ_RUN,
    AdapterWanted,
    ListRuns,
    RunKind,
    RunRef,
    RunState,
    TrainingRun,
    TrainingRuns,
)
from libs.shared.errors import RunUnderWay
from libs.shared.layout import StateFolder
from services.trainer.folders import prune, removable
from services.trainer.handlers import Training

AT = datetime(2026, 5, 4, tzinfo=UTC)


def run(number: int, state: RunState = RunState.DONE, *, encoder: bool = False) -> TrainingRun:
    about = {"text": "t", "artefact": "encoder"} if encoder else {"adapter": AdapterWanted(name="ada")}
    kind = RunKind.MNTP if encoder else RunKind.ADAPTER
    at = AT + timedelta(hours=number)
    return TrainingRun.model_validate(
        {"run_id": f"r{number}", "kind": kind, "state": state, "model": "m", "seed": 0, "created_at": at} | about
    )


def test_the_newest_stay_and_what_has_not_ended() -> None:
    runs = [run(6), run(5, RunState.RUNNING), run(4), run(3, encoder=True), run(2), run(1, RunState.FAILED)]
    there = {"r6", "r5", "r4", "r3", "r2", "r1", "nobody-knows"}
    assert removable(runs, there, 2) == ["r3", "r2", "r1"]
    assert removable(runs, there - {"r4"}, 2) == ["r2", "r1"], "what is gone already counts for nothing"
    assert removable(runs, there, 50) == []


async def test_folders_are_pruned_page_by_page(tmp_path: Path) -> None:
    broker = MemoryBroker()
    trainer, kept = await broker.connect(Principal.TRAINER), await broker.connect(Principal.PERSISTENCE)
    runs = [run(number) for number in range(6, 0, -1)]

    async def listed(asked: ListRuns) -> TrainingRuns:
        at = int(asked.cursor or 0)
        return TrainingRuns(runs=tuple(runs[at : at + 2]), next_cursor=str(at + 2) if at < 4 else None)

    await kept.serve(LIST_RUNS, listed)
    for name in (*(one.run_id for one in runs), "nobody-knows"):
        (tmp_path / name / "sft").mkdir(parents=True)
        (tmp_path / name / "sft" / "loss.svg").touch()
    assert await prune(trainer, tmp_path, 7) == 0
    assert await prune(trainer, tmp_path, 2) == 4
    assert _names(tmp_path) == {"r6", "r5", "nobody-knows"}
    assert await prune(trainer, tmp_path / "none", 2) == 0
    for bus in (trainer, kept):
        await bus.drain(1)


async def test_a_run_is_removed_on_request_once_it_has_ended(tmp_path: Path) -> None:
    broker = MemoryBroker()
    trainer, kept = await broker.connect(Principal.TRAINER), await broker.connect(Principal.PERSISTENCE)
    states, forgotten = {"r1": run(1), "r2": run(2, RunState.QUEUED)}, []

    async def read(ref: RunRef) -> TrainingRun:
        return states[ref.run_id]

    async def forget(ref: RunRef) -> Empty:
        forgotten.append(ref.run_id)
        return Empty()

    await kept.serve(READ_RUN, read)
    await kept.serve(FORGET_RUN, forget)
    folder = StateFolder(tmp_path)
    for name in states:
        (folder.training_runs / name).mkdir(parents=True)
    training = Training(trainer, folder, runner=None)  # type: ignore[arg-type]
    await training.remove_run(RunRef(run_id="r1"))
    with pytest.raises(RunUnderWay, match="mongars train cancel r2"):
        await training.remove_run(RunRef(run_id="r2"))
    assert forgotten == ["r1"]
    assert _names(folder.training_runs) == {"r2"}
    for bus in (trainer, kept):
        await bus.drain(1)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
