"""Telling the scheduler how placed requests went: every failure, and the success that ends a run of them."""

from __future__ import annotations

from typing import Literal

from libs.shared.bus.base import Bus
from libs.shared.contracts.scheduling import OUTCOME, Outcome, Placement
from libs.shared.errors import (
    Cancelled,
    ContextExceeded,
    Forbidden,
    InvalidRequest,
    Overloaded,
    RemoteNotAllowed,
    ServiceError,
    TimedOut,
    TooLarge,
    Unavailable,
    Unsupported,
)
from libs.shared.telemetry import get_logger

log = get_logger(__name__)

Reason = Literal["timeout", "silent", "refused", "broke_off", "error"]
_OF_THE_REQUEST = (ContextExceeded, Forbidden, InvalidRequest, RemoteNotAllowed, TooLarge, Unsupported)
_REASONS: tuple[tuple[type[ServiceError], Reason], ...] = (
    (TimedOut, "timeout"),
    (Unavailable, "silent"),
    (Overloaded, "refused"),
    (Cancelled, "broke_off"),
)
REMEMBERED = 256


def is_of_the_replica(error: ServiceError) -> bool:
    """Whether another replica may do better; what is wrong with the request itself fails everywhere."""
    return not isinstance(error, _OF_THE_REQUEST)


def reason_of(error: ServiceError) -> Reason:
    """The bounded word for a failure."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "error")


class Outcomes:
    """Broadcasts outcomes; advisory, so that an unreachable broker costs nothing but the advice."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._failing: dict[tuple[str, str], None] = {}

    async def failed(self, placed: Placement, error: ServiceError, *, started: bool = False) -> None:
        """Reports a failure of the replica; errors of the request itself are none."""
        if not is_of_the_replica(error):
            return
        if len(self._failing) >= REMEMBERED:
            self._failing.pop(next(iter(self._failing)))
        self._failing[placed.replica, placed.model.name] = None
        await self._tell(placed, ok=False, reason="broke_off" if started else reason_of(error))

    async def succeeded(self, placed: Placement) -> None:
        """Reports a success where a failure was reported before; others would tell the scheduler nothing."""
        if self._failing and (placed.replica, placed.model.name) in self._failing:
            del self._failing[placed.replica, placed.model.name]
            await self._tell(placed, ok=True, reason=None)

    async def _tell(self, placed: Placement, *, ok: bool, reason: Reason | None) -> None:
        outcome = Outcome(node_id=placed.node_id, replica=placed.replica, model=placed.model.name, ok=ok, reason=reason)
        try:
            await self._bus.broadcast(OUTCOME, outcome)
        except ServiceError as error:
            log.info("outcome_untold", code=error.code)
