"""Gives each replica of a node a number that no other holds, for as long as its process lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from libs.shared.contracts.inference import REPLICAS_PER_NODE
from libs.shared.errors import Overloaded

EMBEDDING_NUMBER = 0
"""``<node>-0`` is always the service's own."""


class ReplicaLease:
    """An exclusive lock on a file: the kernel gives it back when the process ends, however it ends."""

    def __init__(self, folder: Path, node_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.number, self._descriptor = _take_first(folder)
        self.replica = f"{node_id}-{self.number}"

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _take_first(folder: Path) -> tuple[int, int | None]:
    """Raises Overloaded when all are taken."""
    for number in range(EMBEDDING_NUMBER + 1, REPLICAS_PER_NODE):
        descriptor = os.open(folder / f"replica-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return number, descriptor
    raise Overloaded(f"a node has {REPLICAS_PER_NODE - 1} replicas at most", retry_after_s=5.0)
