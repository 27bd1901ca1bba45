"""Whether digests are worth having, memory by memory: fewer tokens, and little lost of what was said. Pure.

No question is needed for it, and nobody's words leave the child process: only sums do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from libs.shared.contracts.base import Message
from libs.shared.contracts.ledger import Measured
from libs.shared.text import sentences, words
from services.optimizer.digesting.telling import own_words

BYTES_PER_TOKEN = 3.5
"""Estimated, as cognition does."""
NORMAL_95 = 1.96
LEAST_KEPT = 0.8
"""Of the words of what tells anything, at least so many have to stand in the digests."""
FEWEST = 30
"""Memories: fewer tell nothing."""


class Tally(Message):
    """Sums over memories, of which more can be added."""

    memories: int = 0
    before: float = 0.0
    """Tokens of the texts."""
    after: float = 0.0
    """Of their digests."""
    squares: float = 0.0
    """Of the differences."""
    words: int = 0
    """Different words of each text's own: no courtesies, and none of its questions."""
    kept: int = 0
    """Those of them that stand in the digest."""

    def plus(self, other: Tally) -> Tally:
        return Tally(
            memories=self.memories + other.memories,
            before=self.before + other.before,
            after=self.after + other.after,
            squares=self.squares + other.squares,
            words=self.words + other.words,
            kept=self.kept + other.kept,
        )


def tally(texts: Sequence[str], digests: Sequence[Sequence[str]]) -> Tally:
    """Of these memories and what was made of each."""
    found = Tally()
    for text, digest in zip(texts, digests, strict=True):
        told = " ".join(digest)
        before, after = _tokens(text), _tokens(told)
        said = frozenset().union(*map(own_words, sentences(text)))
        found = found.plus(
            Tally(
                memories=1,
                before=before,
                after=after,
                squares=(after - before) ** 2,
                words=len(said),
                kept=len(said.intersection(words(told))),
            )
        )
    return found


def _tokens(text: str) -> float:
    return math.ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)


def measured(found: Tally) -> tuple[Measured, ...]:
    """For the ledger: means over memories, the first with the interval of its paired difference, the second with that
    of a share (Wald)."""
    count = max(1, found.memories)
    mean = (found.after - found.before) / count
    spread = math.sqrt(max(0.0, found.squares / count - mean**2) / count) * NORMAL_95
    kept = found.kept / max(1, found.words)
    share_spread = math.sqrt(kept * (1 - kept) / max(1, found.words)) * NORMAL_95
    return (
        Measured(
            measure="tokens_of_a_memory",
            by="replay",
            before=found.before / count,
            after=found.after / count,
            low=mean - spread,
            high=mean + spread,
            samples=found.memories,
            unit="tokens",
            better="less",
        ),
        Measured(
            measure="words_kept",
            by="replay",
            before=1.0,
            after=kept,
            low=kept - 1 - share_spread,
            high=kept - 1 + share_spread,
            samples=found.words,
        ),
    )


def helps(found: Tally) -> str | None:
    """None; or why nothing is proposed."""
    if found.memories < FEWEST:
        return f"{found.memories} memories tell nothing of a recipe"
    tokens, kept = measured(found)
    if tokens.high >= 0:
        return "digests are no shorter than memories"
    return f"digests lose {-kept.low:.0%} of the words" if 1 + kept.low < LEAST_KEPT else None
