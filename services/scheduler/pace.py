"""How many seconds a token costs on a node: its measured rates, made slower by heat and by what callers see. Pure."""

from __future__ import annotations

from typing import NamedTuple

from libs.shared.contracts.telemetry import USUAL_ANSWER_TOKENS, ServedModel

UNMEASURED_PROMPT_TOKENS_PER_S = 100.0
UNMEASURED_GENERATED_TOKENS_PER_S = 10.0
"""What a model of no measured speed is taken for: a small board's, so that it is tried without being preferred."""
THROTTLED_SLOWDOWN = 2.0
"""A throttling board runs at about half its clock (Raspberry Pi 4: 1.5 GHz down to 0.6–1.0)."""
WARM_C, HOT_C = 75.0, 85.0
"""Raspberry Pi boards begin to slow down at 80 °C and are held at 85 °C; between the two a node counts as ever slower,
so that it gets less to do before its board protects itself."""


class Pace(NamedTuple):
    """Seconds that one token costs one request, and how many its answer is expected to have."""

    s_per_prompt_token: float
    s_per_answer_token: float
    answer_tokens: float


def slowdown(throttled: bool, temperature_c: float | None) -> float:
    """How many times slower a node counts for its heat: 1 to ``THROTTLED_SLOWDOWN``."""
    if throttled:
        return THROTTLED_SLOWDOWN
    if temperature_c is None or temperature_c <= WARM_C:
        return 1.0
    share = min(1.0, (temperature_c - WARM_C) / (HOT_C - WARM_C))
    return 1.0 + share * (THROTTLED_SLOWDOWN - 1.0)


def pace_of(model: ServedModel, *, heat: float = 1.0, distrust: float = 1.0) -> Pace:
    """``heat`` is ``slowdown``'s; ``distrust`` how many times slower callers saw it write than it says of itself."""
    rates = model.rates
    slower = heat * distrust
    return Pace(
        slower / (rates.prompt_tokens_per_s or UNMEASURED_PROMPT_TOKENS_PER_S),
        slower / (rates.generated_tokens_per_s or UNMEASURED_GENERATED_TOKENS_PER_S),
        USUAL_ANSWER_TOKENS if rates.answer_tokens is None else rates.answer_tokens,
    )
