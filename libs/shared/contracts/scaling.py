"""How busy each process is of a service that may have several: what decides how many there should be."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Broadcast, Empty, Message, Principal, Rpc
from libs.shared.contracts.common import Id
from libs.shared.contracts.telemetry import MetricsText

TOLD_EVERY_S = 2.0
SEVERAL = (Principal.COGNITION, Principal.API)
"""Of these any number of processes may run: they keep nothing that a request needs, and share their work by the
broker's queue groups (the gateway by whoever stands before it). Of the others there is one, or one a node."""


class WorkerTold(Message):
    """One process, over the last interval."""

    worker: Id
    """Drawn anew at each start."""
    at: datetime
    interval_s: float = Field(gt=0)
    busy: float = Field(ge=0)
    """Processors' worth of time that it used: its event loop can't use more than 1."""
    late_s: float = Field(ge=0)
    """How late its event loop came round at worst: so long whatever it was asked waited."""
    memory_mib: float = Field(ge=0)
    leaving: bool = False
    """It takes nothing more, and ends what it has begun."""


MOST_HERE = 16
"""Processes of one service on one machine: the first answers for it, the others have a number."""
WORKER_METRICS = Rpc(
    "mongars.v1.cognition.worker_metrics.{worker}",
    Empty,
    MetricsText,
    owner=Principal.COGNITION,
    callers=frozenset({Principal.COGNITION}),
    timeout_s=1.0,
    max_bytes=8 * MIB,
    each_instance=True,
)
"""Those of a numbered process, which the first tells with its own."""
WORKER = {
    service: Broadcast(
        f"mongars.v1.{service.value}.worker", WorkerTold, owner=service, callers=frozenset({Principal.OPTIMIZER})
    )
    for service in SEVERAL
}
