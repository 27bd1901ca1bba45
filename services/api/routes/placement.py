"""``/api/v1/placement``: where a request or background work would run now, and why nowhere else, for admins."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query

from libs.shared.contracts.scheduling import (
    EXPLAIN_JOB,
    EXPLAIN_PLACEMENT,
    USUAL_PATIENCE_S,
    Explanation,
    PlaceJob,
    PlaceRequest,
)
from services.api.access import Access
from services.api.routing import Endpoint, PartsOf

Model = Annotated[str | None, Query(max_length=256, description="By name or by role; without it, the default one.")]
PromptTokens = Annotated[int, Query(ge=0, le=10_000_000, description="To be read.")]
AnswerTokens = Annotated[int, Query(ge=1, le=10_000_000, description="To be written, at most.")]
Background = Annotated[
    Literal["embed", "chat"] | None,
    Query(description="Of work that nobody waits for: vectors (`embed`), or a language model that reads (`chat`)."),
]
WaitedS = Annotated[float, Query(ge=0, le=1e9, description="How long such work has waited, in seconds.")]


async def explain_placement(
    parts: PartsOf,
    model: Model = None,
    prompt_tokens: PromptTokens = 500,
    answer_tokens: AnswerTokens = 256,
    background: Background = None,
    waited_s: WaitedS = 0.0,
) -> Explanation:
    """The node that would be taken, and the reason for each that would not. Nothing is placed by asking."""
    if background is not None:
        job = PlaceJob(
            kind=background, model=model, prompt_tokens=prompt_tokens, max_tokens=answer_tokens, waited_s=waited_s
        )
        return await parts.bus.request(EXPLAIN_JOB, job)
    asked = PlaceRequest(
        model=model, adapts=True, prompt_tokens=prompt_tokens, max_tokens=answer_tokens, patience_s=USUAL_PATIENCE_S
    )
    return await parts.bus.request(EXPLAIN_PLACEMENT, asked)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/placement",
        handler=explain_placement,
        access=Access.ADMIN,
        options={"tags": ["nodes"]},
    ),
)
