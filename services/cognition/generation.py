"""Placing a generation and streaming it: failed replicas are left for others until the first token has come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import monotonic
from typing import Literal

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.ledger import RuntimeSettings
from libs.shared.contracts.scheduling import PLACE, Placement, PlaceRequest
from libs.shared.errors import BackendFailed, ContextExceeded, NoNode, Overloaded, ServiceError, TimedOut
from libs.shared.telemetry import tracer
from services.cognition import measuring
from services.cognition.outcomes import Outcomes, Writing, is_of_the_replica, reason_of
from services.cognition.patience import ask
from services.cognition.prompt import ANSWER_TOKENS, Material, Prompt, assemble, budget, estimate, lasting
from services.cognition.retry_budget import RetryBudget
from services.cognition.settings import CognitionSettings

UNPLACED_BYTES_PER_TOKEN = 3.0
"""What a prompt's tokens are estimated with before its model is known."""
SHRINKINGS = 2
"""How often a prompt that the model finds too long is made shorter."""
SAFETY = 0.95
LEAST_TOKENS = 32
MOMENT_S = 0.001
"""What is left to a request whose time is over: it still learns why."""

Need = Literal["tools", "images", "json_schema"]


@dataclass(frozen=True)
class Asked:
    """What is to be generated."""

    request: ChatRequest
    material: Material
    session: str | None
    deadline: float
    """Monotonic time by which the first token must have come."""


@dataclass(frozen=True)
class Given:
    """What a replica was given: known from the first chunk on."""

    placement: Placement
    prompt: Prompt


@dataclass(frozen=True)
class _Fit:
    """The prompt's measure: as the model's own count teaches it, it gets smaller."""

    tokens: int
    bytes_per_token: float


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
    ) -> None:
        """``patience_s`` is how long a scheduler that is restarting is waited for."""
        self._bus = bus
        self._outcomes = outcomes
        self._retries = retries
        self._settings = settings
        self._in_force = in_force
        self._asked = asked
        self._patience_s = patience_s
        self._tried: list[str] = []
        self.given: Given | None = None

    async def chunks(self) -> AsyncGenerator[GenerateChunk, None]:
        """The answer; its last chunk has ``finish_reason``.

        Raises, before the first chunk, PLACE's refusals, what is wrong with the request, or the last replica's
        failure (at once where too many requests are being tried again already); after it BackendFailed alone.
        """
        failure: ServiceError | None = None
        self._retries.earn()
        while len(self._tried) < self._settings.generate_attempts and (failure is None or self._retries.spend()):
            placement = await self._place(failure)
            try:
                async with aclosing(self._at(placement)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except ServiceError as error:
                if self.given is not None or not is_of_the_replica(error):
                    raise
                measuring.fell_back(reason_of(error))
                failure = error
                self._tried.append(placement.replica)
                if monotonic() >= self._asked.deadline:
                    break
        assert failure is not None
        raise failure

    async def _place(self, failure: ServiceError | None) -> Placement:
        request, material = self._asked.request, self._asked.material
        tokens = estimate((*material.history, *material.new), UNPLACED_BYTES_PER_TOKEN)
        recalled = sum(len(hit.item.text.encode()) for hit in material.hits[: self._in_force().recall_k])
        tokens += int(recalled / UNPLACED_BYTES_PER_TOKEN)
        question = PlaceRequest(
            model=request.model,
            prompt_tokens=tokens,
            max_tokens=request.sampling.max_tokens or ANSWER_TOKENS,
            session=self._asked.session if request.sampling.seed is None else None,
            lasting_tokens=lasting(material, UNPLACED_BYTES_PER_TOKEN),
            needs=needs_of(request),
            exclude=tuple(self._tried),
            patience_s=max(MOMENT_S, self._asked.deadline - monotonic()),
        )
        try:
            with tracer.start_as_current_span("place"):
                return await ask(self._bus, PLACE, question, patience_s=self._patience_s)
        except (NoNode, Overloaded) as none_left:
            raise failure or none_left from None

    async def _at(self, placement: Placement) -> AsyncGenerator[GenerateChunk, None]:
        """One replica's answer, the prompt shortened when its model counts more tokens than were estimated."""
        fit = _Fit(budget(placement.model, self._asked.request.sampling.max_tokens), placement.model.bytes_per_token)
        for shrinking in range(SHRINKINGS + 1):
            prompt = self._prompt(fit)
            try:
                async with aclosing(self._stream(placement, prompt)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except ContextExceeded as error:
                if self.given is not None or prompt.minimal or shrinking == SHRINKINGS:
                    raise
                fit = shrunk(fit, prompt, error)

    def _prompt(self, fit: _Fit) -> Prompt:
        settings = self._in_force()
        material = self._asked.material
        return assemble(
            material,
            tokens=fit.tokens,
            bytes_per_token=fit.bytes_per_token,
            memory_share=settings.prompt_memory_share,
            most=settings.recall_k,
        )

    async def _stream(self, placement: Placement, prompt: Prompt) -> AsyncGenerator[GenerateChunk, None]:
        request = GenerateRequest.model_construct(
            request_id=self._asked.request.turn_id,
            model=placement.model.name,
            messages=prompt.messages,
            sampling=self._asked.request.sampling,
            tools=self._asked.request.tools,
            session=self._asked.session,
            remote=placement.model.remote,
            ticket=placement.ticket,
        )
        meter, writing, told = measuring.GenerationMeter(placement.model), Writing(), False
        try:
            with tracer.start_as_current_span("generate", attributes=meter.labels):
                async with aclosing(self._received(placement, request)) as chunks:
                    waiting = monotonic()
                    async for chunk in chunks:
                        writing.came(monotonic() - waiting, chunk.usage)
                        if self.given is None:
                            self.given = Given(placement, prompt)
                        if chunk.finish_reason is not None:
                            meter.succeeded(chunk.usage)
                            told = True
                            await self._outcomes.succeeded(placement, writing)
                        yield chunk
                        waiting = monotonic()
        except ServiceError as error:
            started = self.given is not None
            meter.failed("broke_off" if started else reason_of(error), error.code)
            told = True
            await self._outcomes.failed(placement, error, started=started)
            raise
        finally:
            meter.closed()
            if not told:  # its reader has gone
                await self._outcomes.ended(placement)

    async def _received(self, placement: Placement, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """The replica's chunks; what fails after the last of them no longer matters."""
        left_s = self._asked.deadline - monotonic()
        if left_s <= 0:
            raise TimedOut("no node gave a first token in time")
        first_s = min(left_s, GENERATE.first_timeout_s)
        ended = False
        async with self._bus.stream(GENERATE, request, first_timeout_s=first_s, replica=placement.replica) as chunks:
            try:
                async for chunk in chunks:
                    if not ended:
                        ended = chunk.finish_reason is not None
                        yield chunk
            except ServiceError:
                if not ended:
                    raise
        if not ended:
            raise BackendFailed("the model's answer ended without an end", reason="broke_off")


def shrunk(fit: _Fit, prompt: Prompt, error: ContextExceeded) -> _Fit:
    """A smaller measure by the model's own figures: its count of this prompt, and its context."""
    counted = error.data.get("prompt_tokens")
    if not isinstance(counted, int) or counted <= 0 or not prompt.tokens:
        return replace(fit, tokens=max(LEAST_TOKENS, fit.tokens // 2))
    context = error.data.get("context_tokens")
    limit = min(fit.tokens, context) if isinstance(context, int) and context > 0 else fit.tokens
    off_by = max(1.0, counted / prompt.tokens)
    return _Fit(max(LEAST_TOKENS, int(limit * SAFETY)), fit.bytes_per_token / off_by)
