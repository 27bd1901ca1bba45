"""Outcomes: what the scheduler is told of a placed request, and what would tell it nothing."""

from __future__ import annotations

from libs.shared.contracts.common import Usage
from services.cognition.outcomes import FEWEST_TOKENS, Writing

USAGE = Usage(prompt_tokens=5, completion_tokens=20)


def test_only_the_waiting_for_tokens_after_the_first_counts() -> None:
    writing = Writing()
    writing.came(9.0, None)
    writing.came(0.5, None)
    writing.came(0.25, USAGE)
    assert (writing.seconds, writing.tokens, writing.told) == (0.75, 20, True)


def test_a_short_answer_tells_nothing() -> None:
    writing = Writing()
    writing.came(0.1, Usage(prompt_tokens=5, completion_tokens=FEWEST_TOKENS - 1))
    assert not writing.told
    assert not Writing().told
