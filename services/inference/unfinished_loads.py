"""Marks of adapters whose loading has begun, on disk: one that is left tells that loading it ended the process."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from libs.shared.telemetry import get_logger
from services.inference.adapters import Adapter

MOST_TRIES = 2
"""So often a load may end the process before it isn't begun again: once it may have been another's fault."""
MOST_MARKS = 512

log = get_logger(__name__)


class UnfinishedLoads:
    """Those of one model, as files in ``folder``: an adapter whose files change has none.

    A folder that can't be written protects from nothing, and stops nothing.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._folder = folder
        self._model = model
        self._under_way: list[Path] = []
        self._lock = Lock()
        self._ended = False

    def tries(self, adapter: Adapter) -> int:
        """How many loads of it have begun and not ended."""
        try:
            return self._mark(adapter).stat().st_size
        except OSError:
            return 0

    @contextmanager
    def marked(self, adapters: Collection[Adapter]) -> Iterator[None]:
        """While they are loaded; whatever is raised, the process has outlived it."""
        marks = [self._mark(adapter) for adapter in adapters]
        self._begin(marks)
        try:
            yield
        finally:
            self._end(marks)

    def end(self) -> None:
        """Who stops the process on purpose doesn't blame what is being loaded."""
        with self._lock:
            self._ended = True
            marks = tuple(self._under_way)
        self._end(marks)

    def _begin(self, marks: Collection[Path]) -> None:
        with self._lock:
            if self._ended:
                return
            self._under_way.extend(marks)
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._forget_oldest(MOST_MARKS - len(marks))
                for mark in marks:
                    with mark.open("ab") as file:
                        file.write(b".")
            except OSError as error:
                log.warning("load_not_marked", model=self._model, exc_info=error)

    def _end(self, marks: Collection[Path]) -> None:
        with self._lock:
            self._under_way = [mark for mark in self._under_way if mark not in marks]
        for mark in marks:
            with suppress(OSError):
                mark.unlink(missing_ok=True)

    def _mark(self, adapter: Adapter) -> Path:
        told = repr((self._model, adapter.name, adapter.format, adapter.version))
        return self._folder / hashlib.sha256(told.encode()).hexdigest()[:32]

    def _forget_oldest(self, most: int) -> None:
        marks = sorted(self._folder.iterdir(), key=lambda mark: mark.stat().st_mtime)
        for mark in marks[: max(0, len(marks) - most)]:
            mark.unlink(missing_ok=True)
