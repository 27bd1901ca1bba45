"""Everything around the trainer for tests: a real broker, and a persistence, scheduler and api of a few lines each."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from libs.shared.artefacts.manifests import sign
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import KEEP_ADAPTER, LIST_ADAPTERS, Adapters, KeepAdapter, Manifest, SignedManifest
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.material import TRAINING_MATERIAL, Exchange, MaterialChunk, TrainingMaterial
from libs.shared.contracts.scheduling import PLACE_JOB, PREEMPT, JobPlacement, PlaceJob, Preempt
from libs.shared.contracts.training import (
    CANCEL_RUN,
    KEEP_RUN,
    READ_RUN,
    REPORT_RUN,
    RUN_PROGRESSED,
    START_RUN,
    TRAINING_REQUESTED,
    MntpOptions,
    ReportRun,
    RunProgress,
    RunProgressed,
    RunRef,
    RunState,
    StartRun,
    TrainingRequested,
    TrainingRun,
)
from libs.shared.errors import NoModel, RunNotFound
from libs.shared.layout import StateFolder
from tests.support import language_model
from tests.support.broker import TestBroker

SHORT = MntpOptions(
    steps=40,
    batch=4,
    block_tokens=16,
    learning_rate=4e-3,
    contrast_steps=20,
    contrast_batch=4,
    sentence_tokens=16,
    contrast_learning_rate=3e-3,
    checkpoint_steps=5,
)
TEXT = "story.txt"
MODEL = "tiny"
LIMIT_S = 280.0
ROOM = JobPlacement(room=True)
BUSY = JobPlacement(room=False, retry_after_s=0.1, reasons={"busy": 1})


def state_folder(root: Path) -> StateFolder:
    """With a model, and a text to learn from."""
    folder = StateFolder(root)
    folder.models.mkdir(parents=True)
    shutil.copytree(language_model.cached() / language_model.FOLDER, folder.models / MODEL)
    folder.training_texts.mkdir(parents=True)
    lines = [f"{line.capitalize()}, {times} times." for times in range(8) for line in language_model.SENTENCES]
    (folder.training_texts / TEXT).write_text("\n".join(lines))
    return folder


@dataclass
class House:
    """``open`` serves what the trainer asks for; the trainer itself is the test's."""

    folder: StateFolder
    connect: Callable[[Principal], object]
    runs: dict[str, TrainingRun] = field(default_factory=dict)
    reports: list[ReportRun] = field(default_factory=list)
    progress: RunProgress | None = None
    room: JobPlacement = ROOM
    material: list[Exchange] = field(default_factory=list)
    kept: list[Manifest] = field(default_factory=list)
    asked: list[PlaceJob] = field(default_factory=list)
    buses: dict[Principal, Bus] = field(default_factory=dict)

    async def open(self, broker: TestBroker) -> None:
        for principal in (Principal.PERSISTENCE, Principal.SCHEDULER, Principal.API, Principal.CLI):
            self.buses[principal] = await broker.connect(principal)
        kept = self.buses[Principal.PERSISTENCE]
        await kept.serve(KEEP_RUN, self._keep)
        await kept.serve(READ_RUN, self._read)
        await kept.serve(REPORT_RUN, self._report)
        await kept.serve_stream(TRAINING_MATERIAL, self._hand_over)
        await kept.serve(KEEP_ADAPTER, self._sign)
        await kept.serve(LIST_ADAPTERS, self._artefacts)
        await self.buses[Principal.SCHEDULER].serve(PLACE_JOB, self._place)
        await self.buses[Principal.CLI].subscribe(RUN_PROGRESSED, self._progressed)

    async def _keep(self, asked: StartRun) -> TrainingRun:
        run_id = f"run-{len(self.runs)}"
        about = asked.model_dump() | {"options": asked.options}
        run = TrainingRun(run_id=run_id, state=RunState.QUEUED, created_at=datetime.now(UTC), **about)
        self.runs[run_id] = run
        wanted = TrainingRequested(run_id=run_id)
        await self.buses[Principal.PERSISTENCE].publish(TRAINING_REQUESTED, wanted, message_id=run_id)
        return run

    async def _read(self, ref: RunRef) -> TrainingRun:
        if ref.run_id not in self.runs:
            raise RunNotFound
        return self.runs[ref.run_id]

    async def _report(self, report: ReportRun) -> TrainingRun:
        self.reports.append(report)
        run = await self._read(RunRef(run_id=report.run_id))
        if not run.state.ended:
            run = run.model_copy(
                update=report.model_dump(exclude={"run_id", "progress"}) | {"progress": report.progress}
            )
            self.runs[report.run_id] = run
        return run

    async def _sign(self, asked: KeepAdapter) -> SignedManifest:
        self.kept.append(asked.manifest)
        return sign(b"s" * 32, asked.manifest)

    async def _artefacts(self, _: Empty) -> Adapters:
        return Adapters(adapters=(), key="", free_bytes=10**9)

    async def _place(self, job: PlaceJob) -> JobPlacement:
        if job.kind == "embed":
            raise NoModel("nothing embeds here")
        self.asked.append(job)
        return self.room

    async def _hand_over(self, _: TrainingMaterial) -> AsyncIterator[MaterialChunk]:
        for one in self.material:
            yield MaterialChunk(exchanges=(one,))

    async def _progressed(self, told: RunProgressed) -> None:
        self.progress = told.progress

    # ------------------------------------------------------------------ what the others do

    async def start(self, options: MntpOptions = SHORT, sts: str | None = None) -> str:
        wanted = StartRun(model=MODEL, text=TEXT, options=options, sts=sts)
        return (await self.buses[Principal.API].request(START_RUN, wanted)).run_id

    async def cancel(self, run_id: str) -> TrainingRun:
        return await self.buses[Principal.API].request(CANCEL_RUN, RunRef(run_id=run_id))

    async def preempt(self) -> None:
        await self.buses[Principal.API].broadcast(PREEMPT, Preempt())

    async def until(self, seen: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        async with asyncio.timeout(limit_s):
            while not seen():  # noqa: ASYNC110 - of another process there is no event
                await asyncio.sleep(0.01)

    async def stands(self, phase: str, step: int = 0) -> None:
        """Until the run has come so far."""
        await self.until(
            lambda: self.progress is not None and self.progress.phase == phase and self.progress.step >= step
        )

    async def ended(self, run_id: str) -> TrainingRun:
        await self.until(lambda: self.runs[run_id].state.ended)
        return self.runs[run_id]


BURNS = """
import json, sys
step = 0
while True:
    step += 1
    if step % 100_000 == 1:
        stands = {"phase": "mntp", "step": 1 + step // 100_000, "steps": 10**9}
        print(json.dumps({"kind": "stands", "progress": stands}), flush=True)
"""
"""A run without libraries: it uses a processor, says so, and never ends."""


def burning(folder: Path) -> tuple[str, ...]:
    """In place of a run's command."""
    return (sys.executable, "-c", BURNS, str(folder))


def child_of(parent: int, folder: StateFolder) -> psutil.Process | None:
    """The run's process that ``parent`` began."""
    for process in psutil.Process(parent).children():
        with suppress(psutil.Error):
            if str(folder.training_runs) in " ".join(process.cmdline()):
                return process
    return None


def processor_ns(process: psutil.Process) -> int:
    """What all its threads have used of the processors."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in tasks)
