"""One coroutine a subject: a run is begun after all that can be known before, and cancelled wherever it stands."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.training import (
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
from libs.shared.errors import InvalidRequest, ModelNotFound, TextNotFound, TrainingUnavailable, Unsupported
from libs.shared.layout import StateFolder
from libs.shared.telemetry import get_logger
from services.trainer.availability import lacking
from services.trainer.bidirectional import FAMILIES
from services.trainer.estimate import LEAST_TOKENS, read_shape, refuse_what_does_not_fit
from services.trainer.evaluating import resolved
from services.trainer.evaluation.pairs import pairs_of
from services.trainer.free_memory import free_bytes
from services.trainer.gathering import curated
from services.trainer.handing_in import refuse_taken
from services.trainer.running import Runner

_GPU = Path("/dev/nvidia0")
"""Where there is one, the run itself measures the memory of its card."""

_SHORTEST = MntpOptions(block_tokens=LEAST_TOKENS, contrast_steps=0)
"""How long exchanges are isn't known before; their run measures the longest."""

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
            await curated(self.bus, request.adapter)
        run = await self.bus.request(KEEP_RUN, request)
        log.info("training_asked_for", run_id=run.run_id, kind=run.kind.value)
        return run

    async def cancel_run(self, request: RunRef) -> TrainingRun:
        """CANCEL_RUN."""
        await self.bus.request(READ_RUN, request)
        await self.runner.cancel(request.run_id)
        return await self.bus.request(REPORT_RUN, ReportRun(run_id=request.run_id, state=RunState.CANCELLED))


def refuse_impossible(request: StartRun, folder: StateFolder, free: int) -> None:
    """Raises ModelNotFound, Unsupported, TextNotFound, ModelBroken, ModelDoesNotFit."""
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
    if not _GPU.exists():
        refuse_what_does_not_fit(shape, request.options if request.kind is RunKind.MNTP else _SHORTEST, free)


def refuse_no_pairs(path: Path) -> None:
    """Raises InvalidRequest."""
    try:
        pairs_of(path.read_text())
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path.name} is no text in UTF-8") from None
