"""How fast a model reads and writes on this node, and how many bytes its tokens have, as measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any, Literal

from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk
from libs.shared.contracts.telemetry import Rates
from services.inference.ahead import Lengths

NEWEST_WEIGHT = 0.2
FEWEST_TOKENS = 2
"""Fewer say nothing about a rate."""
FEWEST_BYTES = 256
"""In a shorter prompt the chat template's own tokens outweigh the text's."""
FEWEST_CHUNKS = 4
MOST_SLOWER = 100.0
"""A stalled answer counts as slow, never as stopped: that is for time-outs to say."""


@dataclass(frozen=True)
class Known:
    """What is known of a model's speed before its first request."""

    prompt_tokens_per_s: float | None
    generated_tokens_per_s: float | None
    source: Literal["trial", "remembered"]
    at: datetime


class Clock:
    """When the first and the last token of one request came, and what the backend counted."""

    def __init__(self) -> None:
        self.begin()
        self.first_s: float | None = None
        self.last_s = 0.0
        self.usage: Usage | None = None
        self.chunks = 0

    def begin(self) -> None:
        """From now on its time counts."""
        self._begun = perf_counter()

    def chunk(self, chunk: GenerateChunk) -> None:
        """One more piece of the answer came."""
        self.last_s = perf_counter() - self._begun
        self.chunks += 1
        if self.first_s is None:
            self.first_s = self.last_s
        if chunk.usage is not None:
            self.usage = chunk.usage

    @property
    def rest_s(self) -> float:
        return self.last_s - (self.first_s or 0.0)

    @property
    def duration_s(self) -> float | None:
        """None when it did not come to its end."""
        return self.last_s if self.usage is not None else None


@dataclass
class Measured:
    """Exponentially weighted means of a model's requests; None until measured. ``known`` speaks for each until then."""

    prompt_tokens_per_s: float | None = None
    generated_tokens_per_s: float | None = None
    bytes_per_token: float | None = None
    chunk_tokens: float | None = None
    """Tokens in a piece of an answer."""
    lengths: Lengths = field(default_factory=Lengths)
    known: Known | None = None

    @property
    def reads(self) -> float | None:
        """Tokens of prompts a second, by what is known best."""
        return self.prompt_tokens_per_s or (self.known.prompt_tokens_per_s if self.known else None)

    @property
    def writes(self) -> float | None:
        """Tokens of answers a second, likewise."""
        return self.generated_tokens_per_s or (self.known.generated_tokens_per_s if self.known else None)

    def note(
        self,
        *,
        size: int,
        prompt_tokens: int,
        completion_tokens: int,
        first_token_s: float | None,
        rest_s: float,
        chunks: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        """``size`` is the prompt's bytes; ``rest_s`` runs from the first token to the last; ``chunks`` the answer's
        pieces, its end among them; ``cached_tokens`` of the prompt had been read before: where they are the most, the
        time says more of all else than of reading. ``first_token_s`` is None where something else held it up."""
        read = prompt_tokens - cached_tokens
        if size >= FEWEST_BYTES and prompt_tokens >= FEWEST_TOKENS:
            self.bytes_per_token = _mean(self.bytes_per_token, size / prompt_tokens)
        if first_token_s and read >= max(FEWEST_TOKENS, cached_tokens):
            self.prompt_tokens_per_s = _mean(self.prompt_tokens_per_s, read / first_token_s)
        if rest_s > 0 and completion_tokens > FEWEST_TOKENS:
            self.generated_tokens_per_s = _mean(self.generated_tokens_per_s, (completion_tokens - 1) / rest_s)
        if chunks > FEWEST_CHUNKS:
            self.chunk_tokens = _mean(self.chunk_tokens, max(0.1, completion_tokens / chunks))
        self.lengths.note(completion_tokens)

    def rates(self, now_tokens_per_s: float | None = None) -> Rates:
        """Rounded, so that telemetry stays short. ``now_tokens_per_s`` is how fast the slowest answer is being written:
        less than half of the mean means that the node has become slow, and counts at once for all that it does."""
        prompt, generated = self.reads, self.writes
        if now_tokens_per_s is not None and generated is not None and now_tokens_per_s < generated / 2:
            slower = max(now_tokens_per_s, generated / MOST_SLOWER) / generated
            generated, prompt = generated * slower, prompt * slower if prompt is not None else None
        return Rates(
            prompt_tokens_per_s=_rounded(prompt),
            generated_tokens_per_s=_rounded(generated),
            answer_tokens=_rounded(self.lengths.mean),
            **self._source(),
        )

    def _source(self) -> dict[str, Any]:
        if self.generated_tokens_per_s is not None or (self.prompt_tokens_per_s is not None and self.known is None):
            return {"source": "requests"}
        return {} if self.known is None else {"source": self.known.source, "measured_at": self.known.at}


def _mean(old: float | None, new: float) -> float:
    return new if old is None else (1 - NEWEST_WEIGHT) * old + NEWEST_WEIGHT * new


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
