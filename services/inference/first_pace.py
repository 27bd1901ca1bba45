"""A local model's pace before its first request: as it was kept, or as a trial finds it. What requests show is kept."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from libs.shared.errors import ServiceError
from libs.shared.hardware import read_board
from libs.shared.telemetry import get_logger
from services.inference import kept_rates, pace_trial
from services.inference.kept_rates import KeptRates, RatesFile
from services.inference.machine import threads
from services.inference.models import ModelSpec
from services.inference.rates import Known
from services.inference.replica import Replica
from services.inference.settings import InferenceSettings

FRESH_S = 30 * 24 * 3600.0
"""What was kept for longer is begun from too, but the model is tried again."""
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

    async def recall(self) -> None:
        """Before the replica serves: it begins from what was kept, if anything."""
        try:
            self._file = await asyncio.to_thread(self._open)
        except OSError as error:
            log.info("rates_not_kept", model=self._spec.label, reason=str(error.strerror))
            return
        await self._begin_from_file()

    async def find(self) -> None:
        """Tries the model, unless it is known already or a request comes; one at a time on a machine. A model that
        fails here fails for its requests too, and is told of then."""
        async with _turn(self._settings.folder.rates / LOCK_FILE):
            # A replica beside this one may have tried the same model meanwhile.
            if self._has_requests() or await self._begin_from_file():
                return
            try:
                await self._try()
            except ServiceError as error:
                log.info("pace_not_found", model=self._spec.label, reason=error.code)
            except Exception as error:
                log.warning("pace_not_found", model=self._spec.label, exc_info=error)

    async def keep(self) -> None:
        """Writes what requests have shown since it was last written."""
        measured = self._replica.measured(self._spec.name)
        rates = (measured.prompt_tokens_per_s, measured.generated_tokens_per_s)
        if self._has_requests() and rates != self._kept:
            await self._write(*rates, source="requests")
            self._kept = rates

    def _open(self) -> RatesFile:
        here = kept_rates.machine(self._settings.machine_root, read_board(self._settings.machine_root).name)
        return RatesFile(self._settings.folder.rates, kept_rates.key(self._spec, here, threads()))

    async def _begin_from_file(self) -> bool:
        """Whether what was kept is fresh enough to do without a trial."""
        kept = await asyncio.to_thread(self._file.read) if self._file else None
        if kept is None:
            return False
        known = Known(kept.prompt_tokens_per_s, kept.generated_tokens_per_s, "remembered", kept.measured_at)
        self._replica.begin_from(self._spec.name, known)
        return 0 <= kept.age_s(self._now()) <= FRESH_S and kept.generated_tokens_per_s is not None

    async def _try(self) -> None:
        model = next((model for model in self._replica.models() if model.name == self._spec.name), None)
        found = await pace_trial.tried(model, self._replica.try_out, self._now) if model else None
        if found is None:
            return
        self._replica.begin_from(self._spec.name, found)
        reads, writes = found.prompt_tokens_per_s, found.generated_tokens_per_s
        log.info("pace_found", model=self._spec.label, reads_per_s=reads, writes_per_s=writes)
        await self._write(reads, writes, source="trial")

    async def _write(self, reads: float | None, writes: float | None, *, source: str) -> None:
        if self._file is None:
            return
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
            log.warning("rates_not_kept", model=self._spec.label, reason=str(error.strerror))

    def _has_requests(self) -> bool:
        return self._replica.measured(self._spec.name).generated_tokens_per_s is not None


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
