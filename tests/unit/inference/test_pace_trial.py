"""What a model's trial asks, and what is made of its answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed
from services.inference.pace_trial import (
    ANSWER_TOKENS,
    GREETING,
    PROMPT_TOKENS,
    QUESTIONS,
    WARM_UP_ANSWER,
    longer,
    tried,
)
from services.inference.rates import Clock, Measured

MODEL = ServedModel(name="m", backend="x", context_tokens=4096)
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def clock(first_s: float, rest_s: float, usage: Usage | None, chunks: int = 5) -> Clock:
    made = Clock()
    made.first_s, made.last_s, made.usage, made.chunks = first_s, first_s + rest_s, usage, chunks
    return made


class Model:
    """Answers as it is told, and knows what it was asked."""

    def __init__(self, *clocks: Clock | Exception | None) -> None:
        self.clocks = list(clocks)
        self.asked: list[GenerateRequest] = []
        self.limits: list[float] = []

    async def ask(self, request: GenerateRequest, limit_s: float) -> Clock | None:
        self.asked.append(request)
        self.limits.append(limit_s)
        told = self.clocks.pop(0)
        if isinstance(told, Exception):
            raise told
        return told


QUICKER = clock(0.2, 0.3, Usage(prompt_tokens=10, completion_tokens=4))
WARM_UP = clock(0.5, 0.3, Usage(prompt_tokens=10, completion_tokens=4))
LONGER = clock(0.5, 1.5, Usage(prompt_tokens=100, completion_tokens=16))


async def test_the_longer_answer_says_how_fast_a_model_is() -> None:
    model = Model(WARM_UP, QUICKER, LONGER)
    known = await tried(MODEL, model.ask, lambda: NOW)
    assert known is not None
    assert known.prompt_tokens_per_s == 200.0
    assert known.generated_tokens_per_s == pytest.approx(10.0)
    assert (known.source, known.at) == ("trial", NOW)
    assert [request.sampling.max_tokens for request in model.asked] == [WARM_UP_ANSWER, 5, 5]
    assert model.limits[1] <= model.limits[0]


async def test_a_request_ends_the_trial_and_it_says_nothing() -> None:
    for clocks in ((None,), (WARM_UP, None)):
        model = Model(*clocks)
        assert await tried(MODEL, model.ask, lambda: NOW) is None
        assert len(model.asked) == len(clocks)


async def test_a_question_that_fails_takes_nothing_from_what_earlier_ones_showed() -> None:
    known = await tried(MODEL, Model(WARM_UP, BackendFailed("too long", reason="inference")).ask, lambda: NOW)
    assert known is not None
    assert known.prompt_tokens_per_s == 20.0
    assert known.generated_tokens_per_s == pytest.approx(10.0)
    with pytest.raises(BackendFailed):
        await tried(MODEL, Model(BackendFailed("broken", reason="inference")).ask, lambda: NOW)


async def test_of_a_longer_answer_that_was_cut_off_only_its_pace_counts() -> None:
    known = await tried(MODEL, Model(WARM_UP, clock(0.1, 2.0, None, chunks=5)).ask, lambda: NOW)
    assert known is not None
    assert (known.prompt_tokens_per_s, known.generated_tokens_per_s) == (20.0, 2.0)


async def test_an_answer_that_came_all_at_once_makes_no_model_quick() -> None:
    at_once = clock(1.0, 0.0001, Usage(prompt_tokens=60, completion_tokens=40))
    known = await tried(MODEL, Model(at_once, at_once, at_once).ask, lambda: NOW)
    assert known is not None
    assert known.prompt_tokens_per_s == known.generated_tokens_per_s == pytest.approx(100.0, rel=0.01)


async def test_a_board_too_slow_for_its_greeting_tells_how_fast_it_writes() -> None:
    model = Model(clock(6.0, 4.0, None, chunks=3))
    known = await tried(MODEL, model.ask, lambda: NOW)
    assert known is not None
    assert (known.prompt_tokens_per_s, known.generated_tokens_per_s) == (None, 0.5)
    assert len(model.asked) == 1


async def test_a_model_that_said_nothing_stays_unmeasured() -> None:
    assert await tried(MODEL, Model(Clock()).ask, lambda: NOW) is None


@pytest.mark.parametrize(
    ("reads", "writes", "context", "most_bytes", "answer"),
    [
        (100_000.0, 1_000.0, 8192, PROMPT_TOKENS * 3, ANSWER_TOKENS),
        (100_000.0, 1_000.0, 128, 32 * 3, ANSWER_TOKENS),
        (100.0, 10.0, 8192, 50 * 3, 5),
        (100.0, 1.0, 8192, 50 * 3, WARM_UP_ANSWER),
    ],
)
def test_the_longer_question_is_bounded_by_pace_context_and_a_most(
    reads: float, writes: float, context: int, most_bytes: int, answer: int
) -> None:
    rough = Measured(prompt_tokens_per_s=reads, generated_tokens_per_s=writes)
    asked = longer(MODEL.model_copy(update={"context_tokens": context}), rough, len(GREETING))
    assert asked is not None
    assert (len(asked.messages[0].text), asked.sampling.max_tokens) == (most_bytes, answer)


def test_a_board_that_reads_slowly_is_not_asked_a_second_time() -> None:
    assert longer(MODEL, Measured(prompt_tokens_per_s=len(GREETING) / 3), len(GREETING)) is None
    assert longer(MODEL, Measured(), len(GREETING)) is None


async def test_a_model_whose_pace_rises_and_rises_is_left_after_a_few_questions() -> None:
    rising = [clock(0.5 / 8**n, 0.3, Usage(prompt_tokens=10, completion_tokens=4)) for n in range(2 * QUESTIONS)]
    model = Model(*rising)
    assert await tried(MODEL, model.ask, lambda: NOW)
    assert len(model.asked) == QUESTIONS
