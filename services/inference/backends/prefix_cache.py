"""What a torch model has read last, so that a prompt that begins the same is read from there on alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any


class PrefixCache:
    """Keys and values of one prompt and its answer, as ``generate`` made them; used by one thread at a time."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._cache: Any = None

    @property
    def holds(self) -> bool:
        """Whether the next prompt may find its beginning here."""
        return self._cache is not None

    def take(self, ids: Sequence[int]) -> tuple[Any, int]:
        """A cache with the beginning of ``ids``, and how many of them it holds; (None, 0) when it holds none.

        Never all of them, since the next token is told from the last one. What is taken is no longer held: an answer
        that fails leaves nothing half read behind.
        """
        cache, known = self._cache, self._ids
        self._cache, self._ids = None, []
        pairs = zip(known, ids[:-1], strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if cache is None or not same:
            return None, 0
        cache.crop(same - int(cache.get_seq_length()))
        return cache, same

    def keep(self, cache: Any, ids: Sequence[int]) -> None:
        """``cache`` has read the first of ``ids``: the newest token of an answer is told, and never read.

        Held only where it can be shortened to what a later prompt shares with it: layers that look back over a window
        have forgotten too much for that, and recurrent ones can't go back.
        """
        from transformers.cache_utils import DynamicCache

        if isinstance(cache, DynamicCache) and cache.is_croppable and not any(cache.is_sliding):
            self._cache, self._ids = cache, list(ids[: int(cache.get_seq_length())])
