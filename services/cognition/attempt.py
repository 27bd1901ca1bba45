"""One replica's answer to a request: the prompt cut to its model, its chunks, and its end told to the schedulers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import Placement
from libs.shared.errors import BackendFailed, ContextExceeded, ServiceError, TimedOut
from libs.shared.telemetry import tracer
from services.cognition import measuring
from services.cognition.dreaming.drafts import Drafts
from services.cognition.outcomes import Outcomes, Writing, reason_of
from services.cognition.prompt import Material, Prompt, assemble, budget

SHRINKINGS = 2
"""How often a prompt that the model finds too long is made shorter."""
SAFETY = 0.95
LEAST_TOKENS = 32


@dataclass(frozen=True)
class Asked:
    """What is to be generated."""

    request: ChatRequest
    material: Material
    session: str | None
    deadline: float
    """Monotonic time by which the first token must have come."""
    drafts: Drafts | None = None
    """Where its answer may lie already."""
    background: bool = False
    """Nobody waits for it."""


@dataclass(frozen=True)
class Given:
    """What a replica was given: known from the first chunk on."""

    placement: Placement
    prompt: Prompt
    drafted: bool = False
    """Its answer lay there already: how soon it came says nothing of the replica."""


@dataclass(frozen=True)
class _Fit:
    """The prompt's measure: as the model's own count teaches it, it gets smaller."""

    tokens: int
    bytes_per_token: float


class Attempt:
    """``given`` is set before the first chunk is yielded."""

    def __init__(
        self,
        bus: Bus,
        outcomes: Outcomes,
        in_force: Callable[[], RuntimeSettings],
        asked: Asked,
        find: Callable[[], Awaitable[Placement | None]],
    ) -> None:
        """``find`` says where; None: nowhere, and no chunk comes."""
        self._bus = bus
        self._outcomes = outcomes
        self._in_force = in_force
        self._asked = asked
        self._find = find
        self._since = monotonic()
        self.placement: Placement | None = None
        """Set once the request is under way."""
        self.given: Given | None = None
        self.failure: ServiceError | None = None
        self.first_s: float | None = None
        """Seconds that the first chunk took."""
        self.outrun = False
        """Another replica was quicker: that it is stopped is nobody's failure."""

    @property
    def waited_s(self) -> float:
        """Seconds since the replica was asked."""
        return monotonic() - self._since

    async def chunks(self) -> AsyncGenerator[GenerateChunk, None]:
        """The answer; its last chunk has ``finish_reason``. Raises what ``find`` raises, what is wrong with the
        request, the replica's failure."""
        placement = await self._find()
        if placement is None:
            return
        self.placement, self._since = placement, monotonic()
        try:
            async with aclosing(self._fitted(placement)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ServiceError as error:
            self.failure = error
            raise

    async def _fitted(self, placement: Placement) -> AsyncGenerator[GenerateChunk, None]:
        """The answer, the prompt shortened when its model counts more tokens than were estimated."""
        fit = _Fit(budget(placement.model, self._asked.request.sampling.max_tokens), placement.model.bytes_per_token)
        for shrinking in range(SHRINKINGS + 1):
            prompt = self._prompt(fit)
            if self._asked.drafts and (draft := self._asked.drafts.take(self._asked.request, placement, prompt)):
                self.given, self.first_s = Given(placement, prompt, drafted=True), self.waited_s
                await self._outcomes.ended(placement)
                for chunk in draft:
                    yield chunk
                return
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
            adapter=placement.adapter,
            messages=prompt.messages,
            sampling=self._asked.request.sampling,
            tools=self._asked.request.tools,
            session=self._asked.session,
            remote=placement.model.remote,
            ticket=placement.ticket,
            background=self._asked.background,
        )
        meter, writing, told = measuring.GenerationMeter(placement.model), Writing(), False
        try:
            with tracer.start_as_current_span("generate", attributes=meter.labels):
                async with aclosing(self._received(placement, request)) as chunks:
                    waiting = monotonic()
                    async for chunk in chunks:
                        writing.came(monotonic() - waiting, chunk.usage)
                        if self.given is None:
                            self.given, self.first_s = Given(placement, prompt), self.waited_s
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
            if self.outrun:
                meter.outrun()
            meter.closed()
            if not told:  # its reader has gone, or another replica was quicker
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
