"""How fast a model is before its first request: two short answers for nobody, the second cut to the first pace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from time import perf_counter
from uuid import uuid4

from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from services.inference.rates import Clock, Known, Measured

LONGEST_S = 10.0
"""For both answers, on the slowest boards; a quick model has ended within two seconds."""
PART_S = 0.5
"""So long the second one's prompt should take to read, and its answer to write."""
WARM_UP_ANSWER = 4
ANSWER_TOKENS = 16
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

Ask = Callable[[GenerateRequest, float], Awaitable[Clock | None]]
"""Asks the model within so many seconds; None: a request came, and the trial is over."""


async def tried(model: ServedModel, ask: Ask, now: Callable[[], datetime]) -> Known | None:
    """What a trial finds, at most ``LONGEST_S`` long; None: a request came first, or the model said too little.

    The first answer is a greeting's, which also brings in what a model reads from the disk or builds when it is first
    used; the second one's figures count where it ended. Raises what asking raises.
    """
    begun = perf_counter()
    first = await ask(question(model.name, GREETING, WARM_UP_ANSWER), LONGEST_S)
    if first is None:
        return None
    rough = measured_by(first, len(GREETING))
    left_s = LONGEST_S - (perf_counter() - begun)
    if (longer := second(model, rough)) is not None and left_s > 0:
        clock = await ask(longer, left_s)
        if clock is None:
            return None
        better = measured_by(clock, len(longer.messages[0].text))
        rough.prompt_tokens_per_s = better.prompt_tokens_per_s or rough.prompt_tokens_per_s
        rough.generated_tokens_per_s = better.generated_tokens_per_s or rough.generated_tokens_per_s
    if rough.prompt_tokens_per_s is None and rough.generated_tokens_per_s is None:
        return None
    return Known(rough.prompt_tokens_per_s, rough.generated_tokens_per_s, "trial", now())


def second(model: ServedModel, rough: Measured) -> GenerateRequest | None:
    """The longer question that takes twice ``PART_S`` at a rough pace; None: that would be no longer one. Pure."""
    if rough.prompt_tokens_per_s is None:
        return None
    tokens = min(PROMPT_TOKENS, model.context_tokens // SHARE_OF_CONTEXT, int(rough.prompt_tokens_per_s * PART_S))
    size = int(tokens * model.bytes_per_token)
    if size <= len(GREETING):
        return None
    answer = min(ANSWER_TOKENS, round((rough.generated_tokens_per_s or ANSWER_TOKENS) * PART_S))
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
    return measured
