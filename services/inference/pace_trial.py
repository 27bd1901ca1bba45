"""How fast a model is before its first request: a few short answers for nobody, each as long as its pace allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from time import perf_counter
from uuid import uuid4

from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.telemetry import get_logger
from services.inference.rates import Clock, Known, Measured

LONGEST_S = 10.0
"""For all of it, on the slowest boards; a quick model has ended within two seconds."""
QUESTIONS = 3
"""The first one's pace is that of a model which was never used: what it reads from the disk makes it look slow."""
LONGER = 1.5
"""How many times as long the next question is at least."""
PART_S = 0.5
"""So long a question's prompt should take to read at most, and its answer to write."""
WARM_UP_ANSWER = 4
ANSWER_TOKENS = 128
"""A quick model's answer of a few tokens would be over in the time for which a busy machine lets it wait."""
PROMPT_TOKENS = 256
SHARE_OF_CONTEXT = 4
"""The prompt is at most a quarter of what the model can read."""
GREETING = "Say hello."
TEXT = (
    "The ferry to the island leaves at nine in the morning and takes an hour and ten minutes. Whoever has a bicycle "
    "pays two coins more, children half. From the harbour a path leads past the old mill to a village of forty houses, "
    "where bread is baked on Mondays and Thursdays. In the afternoon the wind often turns, and then the last boat goes "
    "at five. "
)

log = get_logger(__name__)

Ask = Callable[[GenerateRequest, float], Awaitable[Clock | None]]
"""Asks the model within so many seconds; None: a request came, and the trial is over."""


async def tried(model: ServedModel, ask: Ask, now: Callable[[], datetime]) -> Known | None:
    """What a trial finds, at most ``LONGEST_S`` long; None: a request came first, or the model said too little.

    The first answer is a greeting's, which also brings in what a model reads from the disk or builds when it is first
    used. Of the figures that one question gives, those of the longest count. Raises what asking raises, unless an
    earlier answer has shown how fast the model writes.
    """
    begun = perf_counter()
    asked: GenerateRequest | None = question(model.name, GREETING, WARM_UP_ANSWER)
    pace = Measured()
    for _ in range(QUESTIONS):
        left_s = LONGEST_S - (perf_counter() - begun)
        if asked is None or left_s <= 0:
            break
        try:
            clock = await ask(asked, left_s)
        except Exception as error:
            if pace.writes is None:
                raise
            log.warning("trial_cut_short", model=model.name, exc_info=error)
            break
        if clock is None:
            return None
        size = len(asked.messages[0].text)
        found = measured_by(clock, size)
        pace.prompt_tokens_per_s = found.prompt_tokens_per_s or pace.prompt_tokens_per_s
        pace.generated_tokens_per_s = found.generated_tokens_per_s or pace.generated_tokens_per_s
        asked = longer(model, pace, size)
    if pace.prompt_tokens_per_s is None and pace.generated_tokens_per_s is None:
        return None
    return Known(pace.prompt_tokens_per_s, pace.generated_tokens_per_s, "trial", now())


def longer(model: ServedModel, pace: Measured, asked: int) -> GenerateRequest | None:
    """A question that takes twice ``PART_S`` at a pace; None: it would be no longer than the last one, which had
    ``asked`` bytes. Pure."""
    if pace.prompt_tokens_per_s is None:
        return None
    tokens = min(PROMPT_TOKENS, model.context_tokens // SHARE_OF_CONTEXT, int(pace.prompt_tokens_per_s * PART_S))
    size = int(tokens * model.bytes_per_token)
    if size < LONGER * asked:
        return None
    answer = min(ANSWER_TOKENS, round((pace.generated_tokens_per_s or ANSWER_TOKENS) * PART_S))
    return question(model.name, (TEXT * (size // len(TEXT) + 1))[:size], max(WARM_UP_ANSWER, answer))


def question(model: str, text: str, answer_tokens: int) -> GenerateRequest:
    """As a person would ask it, of one message."""
    return GenerateRequest(
        request_id=f"trial-{uuid4().hex}",
        model=model,
        messages=(ChatMessage(role="user", content=text),),
        sampling=Sampling(max_tokens=answer_tokens),
    )


def measured_by(clock: Clock, size: int) -> Measured:
    """The rates of one answer, reckoned as those of requests are. Of one that was cut off its pieces count as tokens,
    and of its prompt nothing is known."""
    measured = Measured()
    if clock.first_s is not None:
        measured.note(
            size=size,
            prompt_tokens=clock.usage.prompt_tokens if clock.usage else 0,
            completion_tokens=clock.usage.completion_tokens if clock.usage else clock.chunks,
            first_token_s=clock.first_s,
            rest_s=clock.rest_s,
            chunks=clock.chunks,
        )
        _tell_apart(measured, clock)
    return measured


def _tell_apart(measured: Measured, clock: Clock) -> None:
    """No model writes faster than it reads. Where it seems to, a busy machine handed its answer over at once, after the
    time of both: then all tokens count over all of the time."""
    reads, writes = measured.prompt_tokens_per_s, measured.generated_tokens_per_s
    if reads is not None and writes is not None and writes > reads and clock.usage is not None:
        both = (clock.usage.prompt_tokens + clock.usage.completion_tokens) / clock.last_s
        measured.prompt_tokens_per_s = measured.generated_tokens_per_s = both
