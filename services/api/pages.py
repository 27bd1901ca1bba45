"""Query parameters that listings share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from libs.shared.contracts.common import Page, Position
from libs.shared.contracts.sessions import SESSIONS, Session
from services.api.parts import Parts

Limit = Annotated[int, Query(ge=1, le=500, description="Most entries of a page")]
Cursor = Annotated[
    str | None, Query(max_length=512, pattern=r"^[A-Za-z0-9_=.:~-]+$", description="From the page before")
]


async def _page(limit: Limit = 50, cursor: Cursor = None) -> Page:
    return Page(limit=limit, cursor=cursor)


PageOf = Annotated[Page, Depends(_page)]


async def last_kept(parts: Parts, user_id: str) -> Position | None:
    """Where the user's last turn lies: a reader who passes it reads that turn."""
    session = await parts.bus.bucket(SESSIONS).get(user_id)
    return Session.model_validate_json(session).position if session else None
