"""``/api/v1/ratings``: thumbs on the answers that one was given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query

from libs.shared.contracts.common import Id, MemoryMode
from libs.shared.contracts.ratings import LIST_RATINGS, RATE_TURN, ListRatings, Rated, RateTurn, Ratings, Thumb
from services.api.access import Access, permit_memory
from services.api.bodies import Body
from services.api.pages import PageOf, last_kept
from services.api.routing import CallerOf, Endpoint, PartsOf

TurnId = Annotated[
    Id, Path(description="Of the turn (the header x-mongars-turn-id of its answer), or of one of its messages")
]


class NewRating(Body):
    """A thumb. It says whether the answer was good; whether it may be trained on is said at ``/api/v1/consents``."""

    thumb: Literal["up", "down"]


async def list_ratings(
    parts: PartsOf,
    caller: CallerOf,
    page: PageOf,
    thumb: Annotated[Thumb | None, Query(description="Only those up, or only those down")] = None,
) -> Ratings:
    """Newest first."""
    permit_memory(caller, MemoryMode.READ)
    listing = ListRatings(user_id=caller.user_id, thumb=thumb, limit=page.limit, cursor=page.cursor)
    return await parts.bus.request(LIST_RATINGS, listing)


async def rate_turn(parts: PartsOf, caller: CallerOf, turn_id: TurnId, body: NewRating) -> Rated:
    """Gives the answer a thumb, or turns it round; the same one again changes nothing."""
    return await _rate(parts, caller, turn_id, Thumb(body.thumb))


async def clear_rating(parts: PartsOf, caller: CallerOf, turn_id: TurnId) -> Rated:
    """Takes the thumb back, if there is one."""
    return await _rate(parts, caller, turn_id, None)


async def _rate(parts: PartsOf, caller: CallerOf, turn_id: str, thumb: Thumb | None) -> Rated:
    permit_memory(caller, MemoryMode.READ_WRITE)
    read_after = await last_kept(parts, caller.user_id)
    return await parts.bus.request(
        RATE_TURN, RateTurn(user_id=caller.user_id, turn_id=turn_id, thumb=thumb, read_after=read_after)
    )


_OPTIONS: dict[str, Any] = {"tags": ["training"]}
_ONE = "/api/v1/ratings/{turn_id}"
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/ratings", handler=list_ratings, access=Access.USER, options=_OPTIONS),
    Endpoint(method="PUT", path=_ONE, handler=rate_turn, access=Access.USER, options=_OPTIONS),
    Endpoint(method="DELETE", path=_ONE, handler=clear_rating, access=Access.USER, options=_OPTIONS),
)
