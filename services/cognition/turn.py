"""The conversation turn: gather, answer, forward each piece, and end only when the turn is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

from libs.shared import extractive
from libs.shared.bus.base import Bus
from libs.shared.contracts.chat import ChatChunk, ChatMessage, ChatRequest, Recalled
from libs.shared.contracts.common import MemoryMode, Usage
from libs.shared.contracts.inference import GenerateChunk
from libs.shared.contracts.memory import MemoryKind
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.contracts.turns import TurnKey
from libs.shared.errors import BackendFailed, NoModel, NoNode, ServiceError, TimedOut, Unavailable, Unsupported
from libs.shared.runtime_settings import InUse
from libs.shared.telemetry import get_logger
from libs.shared.text import words
from services.cognition import dialogue, measuring, templates
from services.cognition.adapters import OwnedAdapters
from services.cognition.attempt import Asked
from services.cognition.choosing import Choice
from services.cognition.dialogue import Dialogue
from services.cognition.dreaming.drafts import Drafts
from services.cognition.gathering import Gathered, Gatherer
from services.cognition.generation import Generation, needs_of
from services.cognition.keeping import FinishedTurn, Keeper, Kept
from services.cognition.outcomes import Outcomes
from services.cognition.presence import LanguageModel
from services.cognition.prompt import Material
from services.cognition.retry_budget import RetryBudget
from services.cognition.second_copy import Hedges
from services.cognition.selection import Hit
from services.cognition.settings import CognitionSettings
from services.cognition.templates import Chore, chore_of
from services.cognition.turn_measures import Conversations, TurnClock, tell

EXTRACTIVE = "extractive"
NO_MODEL = "no-model"
NO_ADAPTER = "no-adapter"
"""One that was to answer could not, and its model did."""
LONGEST_ANSWER = 2**21
"""Characters; a model that does not stop is stopped here."""
MOST_RECALLED = 100
KEEP_S = 30.0
KEEP_PARTIAL_S = 3.0
_OUT_OF_REACH = (NoModel, NoNode, TimedOut, Unavailable)

T = TypeVar("T")

log = get_logger(__name__)


@dataclass
class Turn:
    """One turn under way. ``model`` and what follows it are set before the first piece of the answer."""

    request: ChatRequest
    dialogue: Dialogue
    gathered: Gathered
    conversation_id: str | None
    began: datetime
    material: Material
    chore: Chore | None = None
    """The client asks for its own sake: nothing is recalled and nothing kept."""
    model: str | None = None
    degraded: str | None = None
    remote: str | None = None
    drafted: bool = False
    prompt: tuple[ChatMessage, ...] = ()
    recalled: tuple[Hit, ...] = ()
    said: list[str] = field(default_factory=list)
    length: int = 0
    started: bool = False

    def told(self, chunk: ChatChunk) -> ChatChunk:
        """``chunk``, with what only the first one carries if it is the first."""
        if self.started:
            return chunk
        self.started = True
        about: dict[str, object] = {
            "model": self.model,
            "degraded": self.degraded,
            "remote": self.remote,
            "conversation_id": self.conversation_id,
        }
        if self.request.explain:
            about["recalled"] = tuple(_recalled(hit) for hit in self.recalled)
            about["prompt"] = self.prompt
        return chunk.model_copy(update=about)


def far_server(model: ServedModel) -> str | None:
    """The remote upstream that answers with this model; None for one of this network."""
    return (model.upstream or model.backend) if model.remote else None


def _recalled(hit: Hit) -> Recalled:
    item = hit.item
    return Recalled(
        message_id=item.id,
        conversation_id=item.conversation_id,
        text=item.text,
        at=item.at,
        score=item.score,
        parts=item.parts,
    )


def material_of(said: Dialogue, gathered: Gathered, today: datetime, most_turns: int) -> Material:
    """What the prompt may be made of: a client's own history, or the newest ``most_turns`` messages of the kept one, of
    which one more was read to know whether there are older ones. Pure."""
    history = said.history
    if not said.resends:
        history = (*history, *dialogue.as_history(gathered.turns[-most_turns:]))
    shortened = not said.resends and len(gathered.turns) > most_turns
    return Material(history, said.new, gathered.hits, today.date(), said.question, shortened)


def _conversation_of(request: ChatRequest, gathered: Gathered, fresh: str) -> str | None:
    """The one that the client names; else the one that its history belongs to; else a new one, where it is kept."""
    if request.conversation_id is not None or request.memory is not MemoryMode.READ_WRITE:
        return request.conversation_id
    found = gathered.joined.conversation_id if gathered.joined else None
    return found or fresh


class Turns:
    """Answers turns; holds nothing of one after its end."""

    def __init__(
        self,
        bus: Bus,
        gatherer: Gatherer,
        keeper: Keeper,
        outcomes: Outcomes,
        settings: CognitionSettings,
        in_use: Callable[[], InUse],
        language_model: LanguageModel,
        adapters: OwnedAdapters,
        drafts: Drafts,
    ) -> None:
        self._bus = bus
        self._drafts = drafts
        self._gatherer = gatherer
        self._outcomes = outcomes
        self._retries = RetryBudget()
        self._hedges = Hedges()
        self._settings = settings
        self._in_use = in_use
        self._told = Conversations()
        self._keeper = keeper
        self._language_model = language_model
        self._adapters = adapters

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatChunk, None]:
        """CHAT. The last chunk comes after the turn is on disk, so a client that saw it never loses it."""
        clock = TurnClock()
        try:
            async with aclosing(self._answered(request, clock)) as chunks:
                async for chunk in chunks:
                    clock.came()
                    yield chunk
        except ServiceError as error:
            await tell(self._bus, clock.ended(self._told, error))
            raise
        await tell(self._bus, clock.ended(self._told))

    async def _answered(self, request: ChatRequest, clock: TurnClock) -> AsyncGenerator[ChatChunk, None]:
        deadline = monotonic() + self._settings.first_token_s
        turn = await self._begin(request, clock)
        if turn.gathered.memory == "searched":
            clock.recalled(turn.gathered.hits)
        final = GenerateChunk()
        try:
            async with aclosing(self._spoken(turn, deadline)) as chunks:
                async for chunk in chunks:
                    if chunk.finish_reason is None:
                        yield _forwarded(turn, chunk)
                    else:
                        final = chunk
        except (GeneratorExit, asyncio.CancelledError):
            await self._keep_partial(turn)
            raise
        except ServiceError as error:
            if not turn.started:
                raise
            await self._keep_partial(turn)
            raise BackendFailed(
                f"the model broke off in turn {request.turn_id}", reason="broke_off", turn_id=request.turn_id
            ) from error
        if turn.model != EXTRACTIVE:
            clock.answered("".join(turn.said), drafted=turn.drafted)
        yield await self._last(turn, final)

    async def _begin(self, request: ChatRequest, clock: TurnClock) -> Turn:
        said = dialogue.read(request.messages)
        chore = chore_of(request.messages)
        if chore is not None:
            request = request.model_copy(update={"memory": MemoryMode.OFF})
        choice = Choice(request, self._in_use(), clock.belongs)
        gathered = await self._gatherer.gather(request, said, choice)
        return Turn(
            request=request,
            dialogue=said,
            gathered=gathered,
            conversation_id=_conversation_of(request, gathered, choice.fresh),
            began=clock.began,
            material=material_of(said, gathered, clock.began, self._settings.history_messages),
            chore=chore,
        )

    async def _spoken(self, turn: Turn, deadline: float) -> AsyncGenerator[GenerateChunk, None]:
        """The answer's chunks, whoever makes them; the last has ``finish_reason``."""
        if turn.request.model == EXTRACTIVE:
            if lacks := needs_of(turn.request):
                raise Unsupported(f"quotations of memory can't do {lacks[0]}", lacks=lacks[0])
            for chunk in _without_model(turn, "asked"):
                yield chunk
            return
        try:
            async with aclosing(self._generated(turn, deadline)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except _OUT_OF_REACH as error:
            if turn.model is not None or needs_of(turn.request):
                raise
            self._fall_back(error)
            why: extractive.Why = "no-model" if isinstance(error, NoModel) else "out-of-reach"
        else:
            self._language_model.present()
            return
        for chunk in _without_model(turn, why):
            yield chunk

    async def _generated(self, turn: Turn, deadline: float) -> AsyncGenerator[GenerateChunk, None]:
        asked = Asked(turn.request, turn.material, turn.conversation_id, deadline, self._drafts)
        # a scheduler that was there a moment ago is restarting; one that never was is not waited for
        patience_s = 0.0 if self._language_model.is_missing else self._settings.restart_patience_s
        generation = Generation(
            self._bus,
            self._outcomes,
            self._retries,
            self._settings,
            lambda: turn.gathered.settings,
            asked,
            patience_s=patience_s,
            hedges=self._hedges,
            adapters=self._adapters,
        )
        thought = 0
        async with aclosing(generation.chunks()) as chunks:
            async for chunk in chunks:
                if turn.model is None and generation.given is not None:
                    given = generation.given
                    turn.model = given.placement.answers_as
                    turn.remote = far_server(given.placement.model)
                    turn.degraded = NO_ADAPTER if generation.gave_way else None
                    turn.drafted = given.drafted
                    turn.prompt, turn.recalled = given.prompt.messages, given.prompt.memories
                if chunk.retracts:  # it was thinking, which isn't kept
                    thought, turn.length = thought + turn.length, 0
                    turn.said.clear()
                turn.length += len(chunk.text)
                thought += len(chunk.reasoning)
                if turn.length + thought > LONGEST_ANSWER:
                    raise BackendFailed("the model did not stop", reason="endless")
                turn.said.append(chunk.text)
                yield chunk

    def _fall_back(self, error: ServiceError) -> None:
        measuring.fell_back("no_model" if isinstance(error, NoModel) else error.code)
        self._language_model.missing(error.code)

    async def _last(self, turn: Turn, final: GenerateChunk) -> ChatChunk:
        kept = None
        if turn.gathered.key is not None:
            kept = await completed(self._keep(turn, turn.gathered.key, final.usage, partial=False), KEEP_S)
        return turn.told(
            ChatChunk(
                turn_id=turn.request.turn_id,
                text=final.text,
                reasoning=final.reasoning,
                tool_calls=final.tool_calls,
                finish_reason=final.finish_reason,
                usage=final.usage,
                message_id=kept.message_id if kept else None,
                position=kept.position if kept else None,
            )
        )

    async def _keep(self, turn: Turn, key: TurnKey, usage: Usage | None, *, partial: bool) -> Kept | None:
        assert turn.conversation_id is not None
        newest = turn.gathered.turns[-1].message_id if turn.gathered.turns else None
        joined = turn.gathered.joined
        finished = FinishedTurn(
            turn_id=turn.request.turn_id,
            user_id=turn.request.user_id,
            conversation_id=turn.conversation_id,
            new_conversation=turn.request.conversation_id is None and not (joined and joined.conversation_id),
            parent_id=joined.parent_id if joined else turn.request.parent_id or newest,
            joined=joined is not None and joined.conversation_id is not None,
            said=turn.dialogue.said,
            said_at=turn.began,
            answer="".join(turn.said),
            answered_at=datetime.now(UTC),
            model=turn.model,
            partial=partial,
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            remembered=turn.request.remember,
            recalled=tuple(hit.item.id for hit in turn.recalled[:MOST_RECALLED]),
        )
        return await self._keeper.keep(finished, key)

    async def _keep_partial(self, turn: Turn) -> None:
        """Keeps what was said when the answer ended early."""
        key = turn.gathered.key
        if key is None or not turn.length:
            return
        try:
            await completed(self._keep(turn, key, None, partial=True), KEEP_PARTIAL_S)
        except ServiceError as error:
            log.warning("partial_turn_lost", turn_id=turn.request.turn_id, code=error.code)


async def completed(work: Coroutine[Any, Any, T], limit_s: float) -> T:
    """The result of ``work``, which a cancellation of the caller does not interrupt: first it ends, within ``limit_s``.

    Raises what ``work`` raises, or TimedOut.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=limit_s)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=limit_s)
        if task.done() and not task.cancelled() and task.exception() is not None:
            log.warning("turn_not_kept", error=type(task.exception()).__name__)
        raise
    finally:
        task.cancel()
    if not task.done():
        raise TimedOut("the turn could not be kept in time")
    return task.result()


def _forwarded(turn: Turn, chunk: GenerateChunk) -> ChatChunk:
    piece = ChatChunk(
        turn_id=turn.request.turn_id,
        text=chunk.text,
        reasoning=chunk.reasoning,
        retracts=chunk.retracts,
        tool_calls=chunk.tool_calls,
    )
    return turn.told(piece)


def _quote(hit: Hit) -> extractive.Quote:
    item = hit.item
    source = item.title if item.kind is MemoryKind.PASSAGE else None
    return extractive.Quote(item.text, item.at, speaker=item.speaker, source=source, page=item.page)


def _without_model(turn: Turn, why: extractive.Why) -> Iterator[GenerateChunk]:
    """An extractive answer, a chunk a sentence. No tokenizer is there: words are counted as tokens."""
    turn.model, turn.degraded = EXTRACTIVE, NO_MODEL if why != "asked" else None
    answered = templates.answer(turn.chore) if turn.chore else None
    for piece in _quoted(turn, why) if answered is None else (answered,):
        turn.said.append(piece)
        turn.length += len(piece)
        yield GenerateChunk(text=piece)
    said = sum(len(words(piece)) for piece in turn.said)
    asked = sum(len(words(message.text)) for message in turn.request.messages)
    yield GenerateChunk(finish_reason="stop", usage=Usage(prompt_tokens=asked, completion_tokens=said))


def _quoted(turn: Turn, why: extractive.Why) -> tuple[str, ...]:
    """Quotations of what is remembered."""
    new = {m.text for m in turn.dialogue.new}
    question = turn.dialogue.question
    hits = {_quote(hit): hit for hit in turn.gathered.hits if hit.item.text not in new}
    told = extractive.worth_telling(question, tuple(hits)) if turn.gathered.memory == "searched" else ()
    turn.recalled = tuple(hits[quote] for quote in told)
    memory, kept = turn.gathered.memory, turn.gathered.key is not None
    earlier = tuple(m.text for m in reversed(turn.material.history) if m.role == "user")
    return extractive.answer(question, told, why=why, memory=memory, kept=kept, earlier=earlier)
