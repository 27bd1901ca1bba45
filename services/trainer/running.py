"""A run from its event to its end: begun in a child process, held up, taken up again, and reported on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol

from libs.shared.background.yielding import Yielding
from libs.shared.bus.base import Bus, Delivery
from libs.shared.contracts.material import Chosen
from libs.shared.contracts.training import (
    READ_RUN,
    REPORT_RUN,
    RUN_PROGRESSED,
    ReportRun,
    RunProgress,
    RunProgressed,
    RunRef,
    RunState,
    TrainingRequested,
    TrainingRun,
)
from libs.shared.errors import RunNotFound, ServiceError, TimedOut, TrainingUnavailable, Unavailable
from libs.shared.layout import StateFolder
from libs.shared.telemetry import get_logger, metrics
from services.trainer import evaluating, examining, folders, gathering, handing_in, handing_in_encoders
from services.trainer.availability import lacking
from services.trainer.curation import shelf
from services.trainer.process import RunProcess
from services.trainer.spec import EXAM, AdapterSpec, EvaluateSpec, RunSpec, kept
from services.trainer.spec import FILE as SPEC_FILE
from services.trainer.telling import UNDER_WAY, Done, Refused, Stands

REPORT_S = 2.0
"""Between two reports to be kept; each is broadcast at once."""
STOPPING_PATIENCE_S = 5.0
"""For the step that is under way, and its checkpoint; what isn't kept by then is computed again."""
CHECK_S = 0.25
RETRY_S = (0.5, 1.0, 2.0, 5.0)
PHASES = ("waiting", "gathering", "loading", "mntp", "simcse", "sft", "saving", "measuring")
MOST_DEATHS = 3
"""So often in a row a run may die before it has come a step further."""

log = get_logger(__name__)


class Begin(Protocol):
    """Begins a run's process."""

    def __call__(self, folder: Path, threads: int) -> Awaitable[RunProcess]: ...


@dataclass
class Current:
    """The run that is under way."""

    run: TrainingRun
    progress: RunProgress = field(default_factory=lambda: RunProgress(phase="waiting"))
    told: RunProgress | None = None
    cancelled: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    verdict: Done | Refused | None = None
    deaths: int = 0
    """Since it last came a step further."""
    furthest: tuple[int, int] = (0, 0)
    """Phase and step."""
    kept_at: float = float("-inf")
    dataset: Path | None = None
    """The folder of an adapter's."""
    own: Path | None = None
    """The folder of the dataset of people's words that an encoder learns from."""
    evaluate: EvaluateSpec | None = None
    exam: Path | None = None
    """The folder of what an encoder is measured on."""

    def stands(self, progress: RunProgress) -> None:
        """The process said so."""
        at = (PHASES.index(progress.phase), progress.step)
        if at > self.furthest:
            self.furthest, self.deaths = at, 0
        self.progress = progress


class Runner:
    """Consumes TRAINING_REQUESTED: one run at a time."""

    def __init__(
        self,
        bus: Bus,
        folder: StateFolder,
        yielding: Yielding,
        threads: int,
        begin: Begin = RunProcess.begin,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._bus = bus
        self._folder = folder
        self._yielding = yielding
        self._threads = threads
        self._begin = begin
        self._clock = clock
        self._current: Current | None = None

    async def run(self, delivery: Delivery[TrainingRequested]) -> None:
        """Returns when the run has ended and that is kept. Raises Unavailable when this service stops meanwhile: it is
        taken up from its last checkpoint then."""
        try:
            run = await self._bus.request(READ_RUN, RunRef(run_id=delivery.message.run_id))
        except RunNotFound:
            return  # the database is an older one, brought back from a backup
        if run.state.ended:
            await self._tidy(run)
            return
        current = self._current = Current(run)
        try:
            report = await self._outcome(current)
            await self._report_until_kept(report)
            await self._tidy(run)
            metrics.TRAINING_RUNS.add(1, {"training.outcome": report.state.value})
            log.info("training_ended", run_id=run.run_id, outcome=report.state.value, code=report.error or "")
        finally:
            self._current = None
            current.over.set()

    async def cancel(self, run_id: str) -> None:
        """Returns once a run that was under way has ended; does nothing for another."""
        current = self._current
        if current is not None and current.run.run_id == run_id:
            current.cancelled = True
            await current.over.wait()

    # ------------------------------------------------------------------ one run

    async def _outcome(self, current: Current) -> ReportRun:
        try:
            return await self._trained(current)
        except ServiceError as error:
            if self._bus.stopping or isinstance(error, Unavailable):
                raise
            if isinstance(error, TimedOut):
                raise Unavailable(error.detail) from error
            return _failed(current, error.code, error.detail)

    async def _trained(self, current: Current) -> ReportRun:
        if (reason := lacking()) is not None:
            raise TrainingUnavailable(reason)
        folder = self._folder.training_runs / current.run.run_id
        if (before := await handing_in.already_kept(self._bus, current.run)) is not None:
            current.verdict = before
            return _reported(current)
        current.progress = RunProgress(phase="gathering")
        await self._unless_over(current, self._gather(current, folder))
        if current.cancelled:
            return _cancelled(current)
        spec = await asyncio.to_thread(kept, folder, self._spec(current))
        while current.verdict is None and not current.cancelled:
            current.progress = RunProgress(phase="waiting")
            await self._unless_over(current, self._yielding.wait_for_room(lambda why: self._held(current, why)))
            if not current.cancelled:
                await self._attempt(current, folder, spec.threads)
            if current.deaths >= MOST_DEATHS:
                return _failed(
                    current, "internal", f"its process ended {current.deaths} times; see errors.log of the run"
                )
        if current.cancelled:
            return _cancelled(current)
        await self._hand_in(current, spec, folder)
        return _reported(current)

    async def _hand_in(self, current: Current, spec: RunSpec, folder: Path) -> None:
        """What its evaluation didn't refuse."""
        verdict = current.verdict
        if not isinstance(verdict, Done) or verdict.artefact is None or spec.evaluate is not None:
            return
        hand_in = handing_in_encoders.hand_in if spec.adapter is None else handing_in.hand_in
        current.verdict = await hand_in(self._bus, current.run, spec, folder, verdict)

    async def _gather(self, current: Current, folder: Path) -> None:
        wanted = current.run.adapter
        if wanted is None:
            await self._gather_for_an_encoder(current, folder)
            return
        await handing_in.refuse_taken(self._bus, wanted.name, current.run.run_id)
        current.dataset = await gathering.drawn(self._bus, current.run.run_id, wanted, folder / handing_in.DATASET)

    async def _gather_for_an_encoder(self, current: Current, folder: Path) -> None:
        run_id = current.run.run_id
        if current.run.own:
            about, place = handing_in_encoders.own_words(current.run), folder / handing_in.DATASET
            current.own = await gathering.drawn(self._bus, run_id, about, place, for_all=True)
        if not (folder / SPEC_FILE).exists():  # else what it is measured on lies there, too
            await self._examine(current, folder)

    async def _examine(self, current: Current, folder: Path) -> None:
        if current.run.evaluate is not None:
            current.evaluate, current.exam = await evaluating.gathered(self._bus, self._folder, current.run)
            return
        if current.own is not None:
            examples, lacking_why = tuple((await asyncio.to_thread(shelf.read, current.own)).of("held_out")), ""
        else:
            dataset, lacking_why = await gathering.measurable(self._bus, Chosen.ALLOWED)
            examples = dataset.examples if dataset is not None else ()
        sts = self._folder.training_texts / current.run.sts if current.run.sts is not None else None
        current.exam = await examining.prepared(self._bus, folder / EXAM, examples, lacking_why, sts)

    def _spec(self, current: Current) -> RunSpec:
        run, adapter = current.run, None
        if run.adapter is not None:
            assert current.dataset is not None
            base = handing_in.base_of(run.adapter, run.model)
            adapter = AdapterSpec(base=base, dataset=current.dataset, options=run.adapter.options)
        return RunSpec(
            model=self._folder.models / run.model,
            text=self._folder.training_texts / run.text if run.text is not None else None,
            seed=run.seed,
            threads=self._threads,
            options=run.options,
            adapter=adapter,
            exam=current.exam,
            evaluate=current.evaluate,
            own=current.own,
        )

    async def _tidy(self, run: TrainingRun) -> None:
        """People's words don't outlive the run that learns from them, and folders don't become ever more."""
        folder = self._folder.training_runs / run.run_id
        if run.adapter is not None or run.evaluate is not None or run.own:
            await asyncio.to_thread(handing_in.clear, folder)
        else:
            await asyncio.to_thread(shutil.rmtree, folder / EXAM, ignore_errors=True)
        try:
            await folders.prune(self._bus, self._folder.training_runs)
        except (ServiceError, OSError) as error:  # the next run's end looks again
            log.debug("folders_unpruned", reason=type(error).__name__)

    async def _attempt(self, current: Current, folder: Path, threads: int) -> None:
        """One life of the run's process."""
        process = await self._begin(folder, threads)
        log.info("training_begun", run_id=current.run.run_id, process=process.pid)
        held = asyncio.create_task(
            self._yielding.hold(process.pause, process.go_on, lambda why: self._held(current, why))
        )
        try:
            await self._unless_over(current, self._listen(current, process))
        finally:
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)
            await process.end(0 if current.verdict is not None else STOPPING_PATIENCE_S)

    async def _listen(self, current: Current, process: RunProcess) -> None:
        async for word in process.words():
            if isinstance(word, Stands):
                current.stands(word.progress)
            else:
                current.verdict = word
        code = await process.ended()
        if current.verdict is None and not current.cancelled:
            current.deaths += code != UNDER_WAY
            log.warning("training_process_ended", run_id=current.run.run_id, exit_code=code)
            await asyncio.sleep(RETRY_S[0])

    async def _unless_over(self, current: Current, work: Awaitable[None]) -> None:
        """``work`` until it is done, or the run is cancelled, and tells of it. Raises Unavailable when the service
        stops."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done() and not current.cancelled:
                if self._bus.stopping:
                    raise Unavailable("this service is stopping")
                await self._tell(current)
                await asyncio.wait((task,), timeout=CHECK_S)
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # ------------------------------------------------------------------ telling

    def _held(self, current: Current, reasons: tuple[str, ...]) -> None:
        if reasons == current.progress.held_by:
            return
        if reasons:
            metrics.TRAINING_PAUSES.add(1, {"training.pause.reason": reasons[0]})
        current.progress = current.progress.model_copy(update={"held_by": reasons})

    async def _tell(self, current: Current) -> None:
        """Broadcasts where the run stands when that is new, and keeps it now and then; neither holds the run up."""
        if current.progress is current.told:
            return
        current.told = current.progress
        told = RunProgressed(run_id=current.run.run_id, state=RunState.RUNNING, progress=current.progress)
        try:
            await self._bus.broadcast(RUN_PROGRESSED, told)
            if self._clock() - current.kept_at >= REPORT_S:
                current.kept_at = self._clock()
                report = ReportRun(run_id=current.run.run_id, state=RunState.RUNNING, progress=current.progress)
                current.cancelled |= (await self._bus.request(REPORT_RUN, report)).state is RunState.CANCELLED
        except ServiceError as error:
            log.debug("progress_untold", code=error.code)

    async def _report_until_kept(self, report: ReportRun) -> None:
        """Raises Unavailable when the service stops before."""
        attempt = 0
        while True:
            try:
                await self._bus.request(REPORT_RUN, report)
            except RunNotFound:
                return
            except ServiceError as error:
                if self._bus.stopping:
                    raise Unavailable("this service is stopping") from error
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1
            else:
                return


def _reported(current: Current) -> ReportRun:
    verdict = current.verdict
    if isinstance(verdict, Done):
        return ReportRun(
            run_id=current.run.run_id,
            state=RunState.DONE,
            progress=current.progress,
            detail=verdict.detail,
            metrics=verdict.metrics,
            artefact=verdict.artefact,
        )
    assert verdict is not None
    return _failed(current, verdict.code, verdict.detail)


def _cancelled(current: Current) -> ReportRun:
    return ReportRun(run_id=current.run.run_id, state=RunState.CANCELLED, progress=current.progress)


def _failed(current: Current, code: str, detail: str) -> ReportRun:
    return ReportRun(
        run_id=current.run.run_id, state=RunState.FAILED, progress=current.progress, error=code, detail=detail
    )
