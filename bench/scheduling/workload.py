"""Requests as people's chats bring them: Poisson arrivals, prompts and answers of log-normal lengths.

Lengths are fitted to the conversation trace of Azure's LLM service (Patel et al., *Splitwise*, ISCA 2024): prompts of
1,020 tokens at the median and 1,155 on average, answers of 129 and 211. Answers end at ``max_tokens``, as every client
has one: 256, the scheduler's own default, unless told otherwise.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scheduling.boards import Board

PROMPT_MEDIAN, PROMPT_MEAN = 1020.0, 1155.0
ANSWER_MEDIAN, ANSWER_MEAN = 129.0, 211.0
MOST_PROMPT = 4096
MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Request:
    """``answer_tokens`` is what nobody knows before the end."""

    number: int
    at: float
    prompt_tokens: int
    answer_tokens: int
    max_tokens: int


@dataclass(frozen=True)
class Shape:
    """What the requests are like."""

    max_tokens: int = MAX_TOKENS
    prompt_median: float = PROMPT_MEDIAN

    def lengths(self, chance: random.Random) -> tuple[int, int]:
        """A prompt's tokens and its answer's."""
        prompt = chance.lognormvariate(math.log(self.prompt_median), _sigma(PROMPT_MEDIAN, PROMPT_MEAN))
        answer = chance.lognormvariate(math.log(ANSWER_MEDIAN), _sigma(ANSWER_MEDIAN, ANSWER_MEAN))
        return max(16, min(MOST_PROMPT, round(prompt))), max(1, min(self.max_tokens, round(answer)))


def _sigma(median: float, mean: float) -> float:
    return math.sqrt(2 * math.log(mean / median))


def arrivals(fleet: Sequence[Board], share: float, count: int, seed: int, shape: Shape | None = None) -> list[Request]:
    """``count`` requests that take ``share`` of what the fleet can do, each board at its own speed."""
    shape, chance = shape or Shape(), random.Random(seed)
    lengths = [shape.lengths(chance) for _ in range(count)]
    prompt = sum(p for p, _ in lengths) / count
    answer = sum(a for _, a in lengths) / count
    capacity = sum(b.slots / (prompt / b.read_per_s + answer / b.write_per_s) for b in fleet)
    at, requests = 0.0, []
    for number, (p, a) in enumerate(lengths):
        at += chance.expovariate(share * capacity)
        requests.append(Request(number, at, p, a, shape.max_tokens))
    return requests
