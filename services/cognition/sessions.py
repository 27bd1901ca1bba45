"""Where each user's last kept turn lies, so that the next reader waits for it: in the bucket, and at hand."""

from __future__ import annotations

from collections import OrderedDict

from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Position
from libs.shared.contracts.sessions import SESSIONS, Session
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger

AT_HAND = 10_000
"""Users whose position is remembered in this process too: the bucket is in the broker's memory, and dies with it."""

log = get_logger(__name__)


def later(one: Position | None, other: Position | None) -> Position | None:
    """The later of two places; of two epochs' the first, since they can't be compared. Pure."""
    if one is None or other is None:
        return one or other
    if one.epoch != other.epoch or one.sequence >= other.sequence:
        return one
    return other


class Sessions:
    """Reads and moves sessions. Best effort: without one, a reader may miss the turn before for a moment."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = bus.bucket(SESSIONS)
        self._at_hand: OrderedDict[str, Position] = OrderedDict()

    async def last(self, user_id: str) -> Position | None:
        """The user's last known position; None when there is none."""
        return later(await self._shared(user_id), self._at_hand.get(user_id))

    async def moved(self, user_id: str, position: Position) -> None:
        """Moves the user's session on, never back."""
        newest = later(position, self._at_hand.get(user_id)) or position
        self._at_hand[user_id] = newest
        self._at_hand.move_to_end(user_id)
        if len(self._at_hand) > AT_HAND:
            self._at_hand.popitem(last=False)
        try:
            await self._bucket.put(user_id, Session(position=newest).model_dump_json().encode())
        except ServiceError as error:
            log.warning("session_unwritten", code=error.code)

    async def _shared(self, user_id: str) -> Position | None:
        try:
            value = await self._bucket.get(user_id)
        except ServiceError as error:
            log.info("session_unread", code=error.code)
            return None
        return Session.model_validate_json(value).position if value else None
