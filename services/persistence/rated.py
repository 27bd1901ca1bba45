"""Telling whoever watches changes that an answer has another thumb: when its turn began, nothing of whose it was."""

from __future__ import annotations

from datetime import datetime

from libs.shared.contracts.ledger import Trial
from libs.shared.contracts.ratings import Thumb
from libs.shared.contracts.watching import TURN_RATED, TurnRated
from libs.shared.errors import ServiceError
from libs.shared.shares import arm_of
from libs.shared.telemetry import get_logger
from services.persistence.parts import Parts
from services.persistence.repositories import ledger, ratings, steps

log = get_logger(__name__)


async def tell_rated(turn_id: str, conversation_id: str, thumb: Thumb | None, parts: Parts) -> None:
    """After the commit, lossy: a thumb that isn't told is one of many, and stands."""
    try:
        rated = await _rated(turn_id, conversation_id, thumb, parts)
        if rated is not None:
            await parts.bus.broadcast(TURN_RATED, rated)
    except ServiceError as error:
        log.info("thumb_not_told", reason=error.code)


async def _rated(turn_id: str, conversation_id: str, thumb: Thumb | None, parts: Parts) -> TurnRated | None:
    trial, since = await _trial(parts)
    async with parts.database.plainly() as driver:
        began, again = await ratings.about(driver, turn_id, conversation_id, since)
    if began is None:
        return None
    arm = arm_of(trial, conversation_id) if trial is not None and since is not None and began > since else None
    return TurnRated(began=began, bad=None if thumb is None else thumb is Thumb.DOWN, arm=arm, again=again)


async def _trial(parts: Parts) -> tuple[Trial | None, datetime | None]:
    """What is tried out, and since when."""
    async with parts.database.transaction() as session:
        trial = await steps.trial_now(session)
        if trial is None:
            return None, None
        decided = (await ledger.find(session, trial.change_id)).decided
        return trial, decided.at if decided is not None else None
