"""Telling the schedulers how placed requests went: that one is at its end and no longer ahead of others, what failed,
and how fast answers were written as their reader sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Usage
from libs.shared.contracts.scheduling import OUTCOME, Outcome, Placement
from libs.shared.errors import (
    AdapterBroken,
    AdapterMismatched,
    AdapterNotFound,
    Cancelled,
    ContextExceeded,
    Forbidden,
    InvalidRequest,
    ModelDoesNotFit,
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
OF_THE_REQUEST = (ContextExceeded, Forbidden, InvalidRequest, RemoteNotAllowed, TooLarge, Unsupported)
_REASONS: tuple[tuple[type[ServiceError], Reason], ...] = (
    (TimedOut, "timeout"),
    (Unavailable, "silent"),
    (Overloaded, "refused"),
    # What is wrong with an adapter says nothing of its model, which goes on answering there.
    (AdapterNotFound, "refused"),
    (AdapterBroken, "refused"),
    (AdapterMismatched, "refused"),
    (ModelDoesNotFit, "refused"),
    (Cancelled, "broke_off"),
)
REMEMBERED = 256
FEWEST_TOKENS = 8
"""A shorter answer says nothing of how fast a replica writes."""


@dataclass
class Writing:
    """How long the tokens after the first were waited for: a reader that takes its time makes no replica slow."""

    seconds: float = 0.0
    tokens: int = 0
    begun: bool = False

    def came(self, waited_s: float, usage: Usage | None) -> None:
        """A chunk came after ``waited_s`` of waiting for it."""
        if self.begun:
            self.seconds += waited_s
        self.begun = True
        if usage is not None:
            self.tokens = usage.completion_tokens

    @property
    def told(self) -> bool:
        """Whether it says anything."""
        return self.tokens >= FEWEST_TOKENS


def is_of_the_replica(error: ServiceError) -> bool:
    """Whether another replica may do better; what is wrong with the request itself fails everywhere."""
    return not isinstance(error, OF_THE_REQUEST)


def reason_of(error: ServiceError) -> Reason:
    """The bounded word for a failure."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "error")


def _counted(placed: Placement) -> bool:
    """Whether schedulers count the request until its end is told."""
    return placed.ticket is not None and placed.model.kind == "chat"


class Outcomes:
    """Broadcasts outcomes; advisory, so that an unreachable broker costs nothing but the advice."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._failing: dict[tuple[str, str], None] = {}

    async def failed(self, placed: Placement, error: ServiceError, *, started: bool = False) -> None:
        """Reports a failure of the replica; errors of the request itself are none, but end it as well."""
        if not is_of_the_replica(error):
            await self.ended(placed)
            return
        if len(self._failing) >= REMEMBERED:
            self._failing.pop(next(iter(self._failing)))
        self._failing[placed.replica, placed.model.name] = None
        await self._tell(placed, ok=False, reason="broke_off" if started else reason_of(error))

    async def succeeded(self, placed: Placement, writing: Writing | None = None) -> None:
        """Reports a success that tells the scheduler something: the end of a request that it counts, one after a
        failure, and one whose pace was seen."""
        key = (placed.replica, placed.model.name)
        failed_before = key in self._failing
        self._failing.pop(key, None)
        seen = writing if writing is not None and writing.told else None
        if failed_before or seen is not None or _counted(placed):
            await self._tell(placed, ok=True, reason=None, writing=seen)

    async def ended(self, placed: Placement) -> None:
        """Reports that the request is over, and nothing of the replica: its reader has gone, or it was at fault."""
        if _counted(placed):
            await self._tell(placed, ok=None, reason=None)

    async def _tell(
        self, placed: Placement, *, ok: bool | None, reason: Reason | None, writing: Writing | None = None
    ) -> None:
        outcome = Outcome(
            node_id=placed.node_id,
            replica=placed.replica,
            model=placed.model.name,
            ok=ok,
            reason=reason,
            writing_s=writing.seconds if writing is not None else None,
            completion_tokens=writing.tokens if writing is not None else None,
            ticket=placed.ticket,
        )
        try:
            await self._bus.broadcast(OUTCOME, outcome)
        except ServiceError as error:
            log.info("outcome_untold", code=error.code)
