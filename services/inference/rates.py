"""How fast a model reads and writes on this node, and how many bytes its tokens have, as measured."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass
class Measured:
    """Exponentially weighted means of one model; None until measured."""

    prompt_tokens_per_s: float | None = None
    generated_tokens_per_s: float | None = None
    bytes_per_token: float | None = None
    chunk_tokens: float | None = None
    """Tokens in a piece of an answer."""
    lengths: Lengths = field(default_factory=Lengths)

    def note(
        self,
        *,
        size: int,
        prompt_tokens: int,
        completion_tokens: int,
        first_token_s: float,
        rest_s: float,
        chunks: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        """``size`` is the prompt's bytes; ``rest_s`` runs from the first token to the last; ``chunks`` the answer's
        pieces, its end among them; ``cached_tokens`` of the prompt had been read before: where they are the most, the
        time says more of all else than of reading."""
        read = prompt_tokens - cached_tokens
        if size >= FEWEST_BYTES and prompt_tokens >= FEWEST_TOKENS:
            self.bytes_per_token = _mean(self.bytes_per_token, size / prompt_tokens)
        if first_token_s > 0 and read >= max(FEWEST_TOKENS, cached_tokens):
            self.prompt_tokens_per_s = _mean(self.prompt_tokens_per_s, read / first_token_s)
        if rest_s > 0 and completion_tokens > FEWEST_TOKENS:
            self.generated_tokens_per_s = _mean(self.generated_tokens_per_s, (completion_tokens - 1) / rest_s)
        if chunks > FEWEST_CHUNKS:
            self.chunk_tokens = _mean(self.chunk_tokens, max(0.1, completion_tokens / chunks))
        self.lengths.note(completion_tokens)

    def rates(self, now_tokens_per_s: float | None = None) -> Rates:
        """Rounded, so that telemetry stays short. ``now_tokens_per_s`` is how fast the slowest answer is being written:
        less than half of the mean means that the node has become slow, and counts at once for all that it does."""
        prompt, generated = self.prompt_tokens_per_s, self.generated_tokens_per_s
        if now_tokens_per_s is not None and generated is not None and now_tokens_per_s < generated / 2:
            slower = max(now_tokens_per_s, generated / MOST_SLOWER) / generated
            generated, prompt = generated * slower, prompt * slower if prompt is not None else None
        return Rates(
            prompt_tokens_per_s=_rounded(prompt),
            generated_tokens_per_s=_rounded(generated),
            answer_tokens=_rounded(self.lengths.mean),
        )


def _mean(old: float | None, new: float) -> float:
    return new if old is None else (1 - NEWEST_WEIGHT) * old + NEWEST_WEIGHT * new


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
