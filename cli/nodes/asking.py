"""Asking the scheduler where a request or background work would run."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cli.installation import Installation

if TYPE_CHECKING:
    from libs.shared.contracts.scheduling import Explanation


class Background(StrEnum):
    """The kind of model that work in the background takes."""

    EMBED = "embed"
    CHAT = "chat"


async def ask(
    installation: Installation, background: Background | None, waited_s: float, sizes: dict[str, Any]
) -> Explanation:
    """Of a request, where ``background`` is None; ``sizes``: its model and tokens."""
    from cli.bus import as_command
    from libs.shared.contracts.scheduling import (
        EXPLAIN_JOB,
        EXPLAIN_PLACEMENT,
        USUAL_PATIENCE_S,
        PlaceJob,
        PlaceRequest,
    )

    async with as_command(installation) as bus:
        if background is not None:
            return await bus.request(EXPLAIN_JOB, PlaceJob(kind=background.value, waited_s=waited_s, **sizes))
        return await bus.request(EXPLAIN_PLACEMENT, PlaceRequest(adapts=True, patience_s=USUAL_PATIENCE_S, **sizes))
