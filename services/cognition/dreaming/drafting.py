"""Drafting an answer beforehand: as a turn would be answered, where a node has room, until somebody asks something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from uuid import uuid4

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import ChatMessage, ChatRequest
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.inference import GenerateChunk
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import PLACE_JOB, PlaceJob, Placement
from libs.shared.runtime_settings import InUse
from services.cognition import dialogue
from services.cognition.attempt import Asked, Attempt
from services.cognition.choosing import Choice
from services.cognition.dreaming.drafts import Drafts
from services.cognition.gathering import Gatherer
from services.cognition.outcomes import Outcomes
from services.cognition.prompt import ANSWER_TOKENS
from services.cognition.traffic import Traffic
from services.cognition.turn import material_of

LONGEST_DRAFT_S = 120.0
"""A model that takes longer for one answer is passed over for it."""
WAITS_S = 20.0
"""For room on a node."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0


class Drafter:
    """Answers by models of this network alone, and without adapters: whose they are is known of a request only."""

    def __init__(
        self,
        bus: Bus,
        gatherer: Gatherer,
        outcomes: Outcomes,
        in_force: Callable[[], RuntimeSettings],
        traffic: Traffic,
        drafts: Drafts,
        history_messages: int,
    ) -> None:
        self._bus = bus
        self._gatherer = gatherer
        self._outcomes = outcomes
        self._in_force = in_force
        self._traffic = traffic
        self._drafts = drafts
        self._history_messages = history_messages

    @property
    def most(self) -> int:
        """How many answers may be drafted now: none where an adapter would answer."""
        settings = self._in_force()
        adapted = settings.chat_canary is not None or ":" in (settings.default_model or "")
        return 0 if adapted else settings.drafted_answers

    async def draft(self, user_id: str, question: str, seconds: float) -> bool:
        """Whether the answer to this question, as the first of a conversation, is kept for so long. Raises
        ServiceError, TimeoutError."""
        request = ChatRequest(
            turn_id=uuid4().hex,
            user_id=user_id,
            messages=(ChatMessage(role="user", content=question),),
            memory=MemoryMode.READ,
        )
        said = dialogue.read(request.messages)
        choice = Choice(request, InUse(self._in_force()), lambda conversation, arm: None)
        gathered = await self._gatherer.gather(request, said, choice)
        material = material_of(said, gathered, datetime.now(UTC), self._history_messages)
        asked = Asked(request, material, None, monotonic() + LONGEST_DRAFT_S, background=True)
        placed = await self._placed()
        if placed is None or placed.model.remote:
            return False

        async def there() -> Placement:
            return placed

        attempt = Attempt(self._bus, self._outcomes, self._in_force, asked, there)
        chunks = await self._undisturbed(attempt)
        if not chunks or attempt.given is None or chunks[-1].finish_reason is None or chunks[-1].tool_calls:
            return False
        self._drafts.keep(request, placed, attempt.given.prompt, chunks, seconds)
        return True

    async def _placed(self) -> Placement | None:
        until = monotonic() + WAITS_S
        while monotonic() < until:
            found = await self._bus.request(PLACE_JOB, PlaceJob(kind="chat", max_tokens=ANSWER_TOKENS))
            if found.placement is not None:
                return found.placement
            await asyncio.sleep(min(max(found.retry_after_s, SHORTEST_WAIT_S), LONGEST_WAIT_S))
        return None

    async def _undisturbed(self, attempt: Attempt) -> list[GenerateChunk]:
        """The whole answer; nothing where somebody asked something meanwhile, which stops the model at its node."""
        writing = asyncio.ensure_future(_all(attempt))
        request = asyncio.ensure_future(self._traffic.arrival())
        try:
            async with asyncio.timeout(LONGEST_DRAFT_S):
                await asyncio.wait((writing, request), return_when=asyncio.FIRST_COMPLETED)
            return writing.result() if writing.done() else []
        finally:
            request.cancel()
            writing.cancel()
            await asyncio.wait((writing, request))


async def _all(attempt: Attempt) -> list[GenerateChunk]:
    return [chunk async for chunk in attempt.chunks()]
