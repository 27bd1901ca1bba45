"""How many texts are embedded at a time in the background: as many as are over before a request would notice."""

from __future__ import annotations

from collections.abc import Sequence

PORTION_S = 0.05
"""How long one portion should take: half of what a request may wait for background work to stop."""
FIRST_TOKENS = 80.0
"""Before anything was measured: about 30 ms on a slow processor."""
MOST_TOKENS = 256
"""An embedder with more reads a long text in longer, and then counts as slower than it is."""
CHARACTERS_PER_TOKEN = 4
NEWEST_WEIGHT = 0.3
KNOWN_REPLICAS = 256
"""Beyond, everything is measured anew."""


class Stride:
    """From measured rates, of each replica its own. One text is the least, however long it takes: it is one run of the
    model."""

    def __init__(self) -> None:
        self._s_per_token: dict[str, float] = {}

    def length(self, replica: str, texts: Sequence[str], most: int) -> int:
        """How many of the first of ``texts``, ``most`` at most; ``replica`` is empty where it isn't known yet."""
        known = self._s_per_token.get(replica)
        room = FIRST_TOKENS if known is None else PORTION_S / known
        for count, text in enumerate(texts[:most]):
            room -= tokens(text)
            if room < 0:
                return max(1, count)
        return min(len(texts), most)

    def took(self, replica: str, texts: Sequence[str], seconds: float) -> None:
        """A portion is over. Waiting behind others makes it slower than the embedder is, and the next one shorter."""
        measured = max(seconds, 1e-6) / sum(map(tokens, texts))
        if len(self._s_per_token) >= KNOWN_REPLICAS and replica not in self._s_per_token:
            self._s_per_token.clear()
        known = self._s_per_token.get(replica, measured)
        self._s_per_token[replica] = known + NEWEST_WEIGHT * (measured - known)


def tokens(text: str) -> int:
    """A rough count."""
    return min(MOST_TOKENS, len(text) // CHARACTERS_PER_TOKEN + 2)
