"""Placing a generation and streaming it: replicas that fail, or are late, are left for others until the first token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from time import monotonic
from typing import Literal

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.inference import GenerateChunk
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import PLACE, Placement, PlaceRequest
from libs.shared.errors import (
    AdapterBroken,
    AdapterMismatched,
    AdapterNotAllowed,
    AdapterNotFound,
    ModelDoesNotFit,
    NoNode,
    Overloaded,
    ServiceError,
    TimedOut,
    Unavailable,
)
from libs.shared.roles import role_named
from libs.shared.telemetry import get_logger, tracer
from services.cognition import measuring
from services.cognition.adapters import OwnedAdapters, canary_for
from services.cognition.attempt import Asked, Attempt, Given
from services.cognition.hedging import MEASURED, decide
from services.cognition.outcomes import Outcomes, is_of_the_replica, reason_of
from services.cognition.patience import ask
from services.cognition.prompt import ANSWER_TOKENS, estimate, lasting
from services.cognition.racing import first_to_speak
from services.cognition.retry_budget import RetryBudget
from services.cognition.second_copy import Hedges, SecondCopy
from services.cognition.settings import CognitionSettings

UNPLACED_BYTES_PER_TOKEN = 3.0
"""What a prompt's tokens are estimated with before its model is known."""
MOMENT_S = 0.001
"""What is left to a request whose time is over: it still learns why."""

OF_AN_ADAPTER = (AdapterBroken, AdapterMismatched, AdapterNotAllowed, AdapterNotFound, ModelDoesNotFit)

log = get_logger(__name__)

Need = Literal["tools", "images", "json_schema"]


def needs_of(request: ChatRequest) -> tuple[Need, ...]:
    """What the model must be able to do for this request."""
    needs: list[Need] = []
    if request.tools.tools or any(m.tool_calls for m in request.messages):
        needs.append("tools")
    if any(
        not isinstance(m.content, str) and any(p.type == "image_url" for p in m.content or ()) for m in request.messages
    ):
        needs.append("images")
    if request.tools.response_format and request.tools.response_format.get("type") != "text":
        needs.append("json_schema")
    return tuple(needs)


class Generation:
    """One request's generation. ``given`` is set before the first chunk is yielded."""

    def __init__(
        self,
        bus: Bus,
        outcomes: Outcomes,
        retries: RetryBudget,
        settings: CognitionSettings,
        in_force: Callable[[], RuntimeSettings],
        asked: Asked,
        *,
        patience_s: float,
        hedges: Hedges,
        adapters: OwnedAdapters,
    ) -> None:
        """``patience_s`` is how long a scheduler that is restarting is waited for."""
        self._bus = bus
        self._outcomes = outcomes
        self._retries = retries
        self._settings = settings
        self._in_force = in_force
        self._asked = asked
        self._patience_s = patience_s
        self._hedges = hedges
        self._tried: list[str] = []
        self._adapters = adapters
        self._adapts = True
        self._canary = self._tried_out()
        self.given: Given | None = None
        self.gave_way = False
        """Whether an adapter that was to answer, and that the request doesn't name, could not."""

    async def chunks(self) -> AsyncGenerator[GenerateChunk, None]:
        """The answer; its last chunk has ``finish_reason``.

        Raises, before the first chunk, PLACE's refusals, what is wrong with the request, or the last replica's
        failure (at once where too many requests are being tried again already); after it BackendFailed alone.
        """
        failure: ServiceError | None = None
        self._retries.earn()
        if self._in_force().hedging:
            self._hedges.budget.earn(self._in_force().hedging_share)
        while len(self._tried) < self._settings.generate_attempts and (failure is None or self._retries.spend()):
            question, placement = await self._place(failure)
            try:
                async with aclosing(self._from(question, placement)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except ServiceError as error:
                if self.given is not None:
                    raise
                if monotonic() < self._asked.deadline and self._without_adapter(error):
                    continue
                if not is_of_the_replica(error):
                    raise
                measuring.fell_back(reason_of(error))
                failure = error
                self._tried.append(placement.replica)
                if monotonic() >= self._asked.deadline:
                    break
        assert failure is not None
        raise failure

    def _question(self) -> PlaceRequest:
        request, material = self._asked.request, self._asked.material
        tokens = estimate((*material.history, *material.new), UNPLACED_BYTES_PER_TOKEN)
        recalled = sum(len(hit.item.text.encode()) for hit in material.hits[: self._in_force().recall_k])
        tokens += int(recalled / UNPLACED_BYTES_PER_TOKEN)
        return PlaceRequest(
            model=self._canary or request.model,
            adapts=self._adapts,
            may_use=self._adapters.may_use(request.user_id),
            prompt_tokens=tokens,
            max_tokens=request.sampling.max_tokens or ANSWER_TOKENS,
            session=self._asked.session if request.sampling.seed is None else None,
            lasting_tokens=lasting(material, UNPLACED_BYTES_PER_TOKEN),
            needs=needs_of(request),
            exclude=tuple(self._tried),
            patience_s=max(MOMENT_S, self._asked.deadline - monotonic()),
        )

    async def _place(self, failure: ServiceError | None) -> tuple[PlaceRequest, Placement]:
        """Where, for what was asked: for what is tried out as long as it can be had."""
        while True:
            question = self._question()
            try:
                with tracer.start_as_current_span("place"):
                    placement = await ask(self._bus, PLACE, question, patience_s=self._patience_s)
                self._check_allowed(placement)
                return question, placement
            except (Unavailable, TimedOut):
                raise  # the scheduler is away, which says nothing of the adapter
            except ServiceError as refusal:
                if self._without_adapter(refusal):
                    continue
                if failure is not None and isinstance(refusal, NoNode | Overloaded | AdapterNotFound):
                    raise failure from None
                raise

    def _check_allowed(self, placement: Placement) -> None:
        """Whoever placed it should know; nobody's words are told for want of that. Raises AdapterNotAllowed."""
        adapter = placement.adapter
        if adapter is not None and self._adapters.refused(adapter, self._asked.request.user_id):
            raise AdapterNotAllowed("it was trained with other people's words, who have not let everybody use it")

    def _tried_out(self) -> str | None:
        """The model and adapter that this conversation tries out, if its user may."""
        request = self._asked.request
        found = canary_for(self._in_force(), request.model, self._asked.session or request.turn_id)
        if found is None or self._adapters.refused(found.rpartition(":")[2], request.user_id):
            return None
        return found

    def _without_adapter(self, error: ServiceError) -> bool:
        """Whether it goes on without the adapter that was to answer: one that nobody named fails no request."""
        model = self._asked.request.model
        if self._canary is not None:
            self._canary = None
        elif self._adapts and isinstance(error, OF_AN_ADAPTER) and (model is None or role_named(model) is not None):
            self._adapts = False
        else:
            return False
        if not isinstance(error, AdapterNotAllowed):
            self.gave_way = True
            measuring.fell_back("adapter")
            log.warning("adapter_gave_way", code=error.code)
        return True

    async def _from(self, question: PlaceRequest, placement: Placement) -> AsyncGenerator[GenerateChunk, None]:
        """The answer of the replica that was placed first, or of a second one where that is late."""
        settings = self._in_force()
        late = self._hedges.lateness.of(placement.model.name) if settings.hedging else None
        hedge = decide(settings, question, placement, late, tried=len(self._tried))
        first, second = self._attempt(partial(_found, placement)), None
        if hedge.after_s is not None:
            copy = SecondCopy(self._bus, self._outcomes, self._hedges.budget, question, placement, hedge.after_s)
            second = self._attempt(copy.find)
        try:
            async with aclosing(first.chunks() if second is None else first_to_speak(first, second)) as chunks:
                async for chunk in chunks:
                    if self.given is None:
                        if hedge.why in MEASURED:
                            self._measure(placement, first)
                        self.given = self._speaker(first, second).given
                    yield chunk
        finally:
            if second is not None and second.placement is not None and second.failure is not None and not first.outrun:
                measuring.hedged("failed")
                self._tried.append(second.placement.replica)

    def _measure(self, placement: Placement, first: Attempt) -> None:
        """How late the first token was; one that another node was quicker than is at least so late as it is now."""
        if first.failure is None and not (first.given is not None and first.given.drafted):
            took_s = first.first_s if first.first_s is not None else first.waited_s
            self._hedges.lateness.came(placement.model.name, took_s, placement.expected_first_s)

    def _speaker(self, first: Attempt, second: Attempt | None) -> Attempt:
        """The one whose chunk came first; counts what became of the second."""
        if second is None or not first.outrun:
            if second is not None and second.placement is not None and second.failure is None:
                measuring.hedged("lost")
            return first
        measuring.hedged("won")
        if first.failure is not None:
            measuring.fell_back(reason_of(first.failure))
        return second

    def _attempt(self, find: Callable[[], Awaitable[Placement | None]]) -> Attempt:
        return Attempt(self._bus, self._outcomes, self._in_force, self._asked, find)


async def _found(placement: Placement) -> Placement:
    return placement
