"""A local model's pace before its first request: as it was kept, or as a trial finds it. What requests show is kept."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from libs.shared.contracts.inference import GenerateRequest
from libs.shared.errors import ServiceError
from libs.shared.hardware import read_board
from libs.shared.telemetry import get_logger
from services.inference import kept_rates, pace_trial
from services.inference.kept_rates import KeptRates, RatesFile
from services.inference.machine import threads
from services.inference.models import ModelSpec
from services.inference.rates import Clock, Known
from services.inference.replica import Replica
from services.inference.settings import InferenceSettings

FRESH_S = 30 * 24 * 3600.0
"""What was kept for longer is begun from too, but the model is tried again."""
TRIAL_FRESH_S = 24 * 3600.0
"""Likewise of what a trial found: a minute in which the machine was busy shouldn't count for a month."""
KEEP_EVERY_S = 300.0
LOCK_FILE = "trial.lock"
LOCK_LOOK_S = 0.2

log = get_logger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


class FirstPace:
    """Of one replica with one local model: its trial costs nobody else anything."""

    def __init__(
        self, replica: Replica, spec: ModelSpec, settings: InferenceSettings, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._replica = replica
        self._spec = spec
        self._settings = settings
        self._now = now
        self._file: RatesFile | None = None
        self._kept: tuple[float | None, float | None] | None = None
        self._put_off = False
        """Whether a request ended the trial: it may have been to another model."""

    async def recall(self) -> None:
        """Before the replica serves: it begins from what was kept, if anything."""
        try:
            self._file = await asyncio.to_thread(self._open)
        except (OSError, ValueError) as error:
            log.info("rates_not_kept", model=self._spec.label, reason=str(error))
            return
        await self._begin_from_file()

    async def find(self) -> None:
        """Tries the model, unless it is known already or a request comes; one at a time on a machine. A model that
        fails here fails for its requests too, and is told of then."""
        self._put_off = False
        async with _turn(self._settings.folder.rates / LOCK_FILE):
            # A replica beside this one may have tried the same model meanwhile.
            if self._was_asked() or await self._begin_from_file():
                return
            if not self._mark():
                log.warning("pace_not_found", model=self._spec.label, reason="an earlier trial ended the process")
                return
            try:
                await self._try()
            except ServiceError as error:
                log.info("pace_not_found", model=self._spec.label, reason=error.code)
            except Exception as error:
                log.warning("pace_not_found", model=self._spec.label, exc_info=error)
            finally:
                self._unmark()

    async def go_on(self) -> None:
        """From time to time: keeps what there is, and tries a model anew whose trial had to give way."""
        await self.keep()
        if self._put_off:
            await self.find()

    async def keep(self) -> None:
        """Writes what requests have shown since it was last written, and what is known of the rest."""
        measured = self._replica.measured(self._spec.name)
        rates = (measured.reads, measured.writes)
        if (
            measured.generated_tokens_per_s is not None
            and rates != self._kept
            and await self._write(*rates, source="requests")
        ):
            self._kept = rates
            self._unmark()

    def _open(self) -> RatesFile:
        root = self._settings.machine_root
        here = kept_rates.machine(root, read_board(root), os.environ)
        return RatesFile(self._settings.folder.rates, kept_rates.key(self._spec, here, threads()))

    async def _begin_from_file(self) -> bool:
        """Whether what was kept is fresh enough to do without a trial."""
        kept = await asyncio.to_thread(self._file.read) if self._file else None
        if kept is None:
            return False
        known = Known(kept.prompt_tokens_per_s, kept.generated_tokens_per_s, "remembered", kept.measured_at)
        self._replica.begin_from(self._spec.name, known)
        fresh_s = TRIAL_FRESH_S if kept.source == "trial" else FRESH_S
        return 0 <= kept.age_s(self._now()) <= fresh_s and kept.generated_tokens_per_s is not None

    def _mark(self) -> bool:
        """False where a trial of the model ended its process, as some do with their first answer: a node that tried it
        at every start would never serve again. Where no mark can be left, it is tried without."""
        try:
            # Not in a thread, as below: a task that is cancelled meanwhile would leave the mark.
            return self._file is None or self._file.begin_trying()
        except OSError:
            return True

    def _unmark(self) -> None:
        with suppress(OSError):
            if self._file is not None:
                self._file.end_trying()

    async def _try(self) -> None:
        model = next((model for model in self._replica.models() if model.name == self._spec.name), None)
        if model is None or self._was_asked():
            return
        found = await pace_trial.tried(model, self._ask, self._now)
        if found is None:
            return
        self._replica.begin_from(self._spec.name, found)
        reads, writes = found.prompt_tokens_per_s, found.generated_tokens_per_s
        log.info("pace_found", model=self._spec.label, reads_per_s=reads, writes_per_s=writes)
        await self._write(reads, writes, source="trial")

    async def _ask(self, question: GenerateRequest, limit_s: float) -> Clock | None:
        clock = await self._replica.try_out(question, limit_s)
        self._put_off = clock is None
        return clock

    async def _write(self, reads: float | None, writes: float | None, *, source: str) -> bool:
        """Whether it could be."""
        if self._file is None:
            return False
        kept = KeptRates.model_validate(
            {
                "model": self._spec.name,
                "prompt_tokens_per_s": reads,
                "generated_tokens_per_s": writes,
                "source": source,
                "measured_at": self._now(),
            }
        )
        try:
            await asyncio.to_thread(self._file.write, kept)
        except OSError as error:
            log.warning("rates_not_kept", model=self._spec.label, reason=str(error))
            return False
        return True

    def _was_asked(self) -> bool:
        """A request measures better than a trial, which could also take from a conversation what was read of it."""
        return self._replica.measured(self._spec.name).lengths.mean is not None


@asynccontextmanager
async def _turn(lock: Path) -> AsyncIterator[None]:
    """Holds ``lock``, which the kernel gives back when the process ends; goes on without one where there can't be any:
    two trials at once only make each other slower."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        while not _taken(descriptor):  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(LOCK_LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
