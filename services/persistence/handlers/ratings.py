"""Thumbs on answers."""

from __future__ import annotations

from datetime import datetime

from libs.shared.contracts.ratings import ListRatings, Rated, RateTurn, Ratings
from libs.shared.errors import TurnNotFound
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.parts import Parts
from services.persistence.rated import tell_rated
from services.persistence.repositories import ratings


async def rate_turn(request: RateTurn, parts: Parts) -> Rated:
    """Gives a thumb, turns it round, or takes it back. Raises TurnNotFound, NotYetApplied."""
    await parts.watermark.wait_for(request.read_after)
    rating = None
    async with parts.database.writing() as driver:
        found = await ratings.ratable(driver, request.user_id, request.turn_id)
        if found is None:
            raise TurnNotFound("there is no such answer in your conversations")
        turn_id, conversation_id = found
        if request.thumb is not None:
            rating = await ratings.rate(driver, request.user_id, *found, request.thumb, parts.clock())
        else:
            await ratings.remove(driver, turn_id)
    await tell_rated(turn_id, conversation_id, request.thumb, parts)
    return Rated(rating=rating)


async def list_ratings(request: ListRatings, parts: Parts) -> Ratings:
    """A page of the user's thumbs."""
    before = decode_cursor(request.cursor, datetime, str) if request.cursor else None
    async with parts.database.plainly() as driver:
        found = await ratings.newest(driver, request.user_id, request.thumb, request.limit, before)
    shown = found[: request.limit]
    cursor = encode_cursor(shown[-1].at, shown[-1].turn_id) if len(found) > len(shown) else None
    return Ratings(ratings=tuple(shown), next_cursor=cursor)
