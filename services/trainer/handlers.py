"""One coroutine a subject: a run is begun after all that can be known before, and cancelled wherever it stands."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty
from libs.shared.contracts.training import (
    FORGET_RUN,
    KEEP_RUN,
    READ_RUN,
    REPORT_RUN,
    MntpOptions,
    ReportRun,
    RunKind,
    RunRef,
    RunState,
    StartRun,
    TrainingRun,
)
from libs.shared.errors import (
    InvalidRequest,
    ModelNotFound,
    RunUnderWay,
    TextNotFound,
    TrainingUnavailable,
    Unsupported,
)
from libs.shared.layout import StateFolder
from libs.shared.telemetry import get_logger
from services.trainer.availability import lacking
from services.trainer.bidirectional import FAMILIES
from services.trainer.estimate import LEAST_TOKENS, read_shape, refuse_what_does_not_fit
from services.trainer.estimate_adapter import LEAST_ROW_TOKENS, longest_tokens, refuse_adapter_that_does_not_fit
from services.trainer.evaluating import resolved
from services.trainer.evaluation.pairs import pairs_of
from services.trainer.folders import remove
from services.trainer.free_memory import free_bytes
from services.trainer.gathering import curated
from services.trainer.handing_in import refuse_taken
from services.trainer.running import Runner

_GPU = Path("/dev/nvidia0")
"""Where there is one, the run itself measures the memory of its card."""

_MEASURED = MntpOptions(block_tokens=LEAST_TOKENS, contrast_steps=0)
"""An evaluation trains nothing: the model has to fit, and little more."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Training:
    """What every handler works with."""

    bus: Bus
    folder: StateFolder
    runner: Runner

    async def start_run(self, request: StartRun) -> TrainingRun:
        """START_RUN."""
        if (reason := lacking()) is not None:
            raise TrainingUnavailable(reason)
        if request.evaluate is not None:
            request = await resolved(self.bus, self.folder, request)
        await asyncio.to_thread(refuse_impossible, request, self.folder, free_bytes())
        if request.adapter is not None:
            await refuse_taken(self.bus, request.adapter.name)
            dataset = await curated(self.bus, request.adapter)
            longest = longest_tokens(dataset.examples, request.adapter.options.row_tokens)
            await asyncio.to_thread(refuse_impossible, request, self.folder, free_bytes(), longest)
        run = await self.bus.request(KEEP_RUN, request)
        log.info("training_asked_for", run_id=run.run_id, kind=run.kind.value)
        return run

    async def cancel_run(self, request: RunRef) -> TrainingRun:
        """CANCEL_RUN."""
        await self.bus.request(READ_RUN, request)
        await self.runner.cancel(request.run_id)
        return await self.bus.request(REPORT_RUN, ReportRun(run_id=request.run_id, state=RunState.CANCELLED))

    async def remove_run(self, request: RunRef) -> Empty:
        """REMOVE_RUN. The record goes last: what was interrupted can be asked for again."""
        run = await self.bus.request(READ_RUN, request)
        if not run.state.ended:
            raise RunUnderWay(f"the run is {run.state.value}: end it first with mongars train cancel {run.run_id}")
        await asyncio.to_thread(remove, self.folder.training_runs / run.run_id)
        return await self.bus.request(FORGET_RUN, request)


def refuse_impossible(
    request: StartRun, folder: StateFolder, free: int, longest_tokens: int = LEAST_ROW_TOKENS
) -> None:
    """``longest_tokens``: of the exchanges that an adapter learns from.

    Raises ModelNotFound, Unsupported, TextNotFound, ModelBroken, ModelDoesNotFit.
    """
    model = folder.models / (request.model or "")
    if not (model / "config.json").is_file():
        raise ModelNotFound(f"there is no Hugging Face folder {request.model} in models; only such can be trained")
    shape = read_shape(model)
    kind = json.loads((model / "config.json").read_bytes()).get("model_type")
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES.values())
        raise Unsupported(f"{kind} can't be trained; these can: {known}", supported=sorted(FAMILIES))
    for name in (request.text, request.sts):
        text = folder.training_texts / name if name is not None else None
        if text is not None and not (text.is_file() and text.stat().st_size):
            raise TextNotFound(f"there is no text {name} in training/texts of the state folder")
    if request.sts is not None:
        refuse_no_pairs(folder.training_texts / request.sts)
    if _GPU.exists():
        return
    if request.adapter is not None:
        refuse_adapter_that_does_not_fit(shape, request.adapter.options, longest_tokens, free)
    else:
        refuse_what_does_not_fit(shape, request.options if request.kind is RunKind.MNTP else _MEASURED, free)


def refuse_no_pairs(path: Path) -> None:
    """Raises InvalidRequest."""
    try:
        pairs_of(path.read_text())
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path.name} is no text in UTF-8") from None
