"""What a torch model has read last, so that a prompt that begins the same is read from there on alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from services.inference.adapters import Adapter

STRETCHED = frozenset({"longrope", "dynamic"})
"""Kinds of rotary positions that depend on a prompt's length: what was read in a long one is wrong in a short one."""


class PrefixCache:
    """Keys and values of one session's prompt and its answer, as ``generate`` made them; used by one thread at a time.

    Nobody but that session finds them, or the time that an answer takes would tell what others have said.
    """

    def __init__(self) -> None:
        self._session: str | None = None
        self._ids: list[int] = []
        self._cache: Any = None
        self._adapter: Adapter | None = None

    @property
    def holds(self) -> bool:
        """Whether the session's next prompt may find its beginning here."""
        return self._cache is not None

    def take(self, session: str, ids: Sequence[int], adapter: Adapter | None = None) -> tuple[Any, int]:
        """A cache with the beginning of ``ids``, and how many of them it holds; (None, 0) when it holds none.

        Never all of them, since the next token is told from the last one. What is taken is no longer held: an answer
        that fails leaves nothing half read behind. What was read with another adapter is another's, whatever the words.
        """
        cache, known, whose = self._cache, self._ids, (self._session, self._adapter)
        self.clear()
        pairs = zip(known, ids[:-1], strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if cache is None or whose != (session, adapter) or not same:
            return None, 0
        cache.crop(same - int(cache.get_seq_length()))
        return cache, same

    def keep(self, session: str, cache: Any, ids: Sequence[int], adapter: Adapter | None = None) -> None:
        """``cache`` has read the first of ``ids``: the newest token of an answer is told, and never read.

        Held only where it can be shortened to what a later prompt shares with it: layers that look back over a window
        have forgotten too much for that, and recurrent ones can't go back.
        """
        from transformers.cache_utils import DynamicCache, DynamicLayer

        if isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers):
            self._session, self._cache, self._ids = session, cache, list(ids[: int(cache.get_seq_length())])
            self._adapter = adapter

    def clear(self) -> None:
        """Holds nothing any more."""
        self._session, self._adapter, self._cache, self._ids = None, None, None, []


def stretches(config: Any) -> bool:
    """Whether a model of this configuration turns its positions by how long the prompt is, so that none of it may be
    kept for another."""
    return not STRETCHED.isdisjoint(_kinds(getattr(config, "rope_parameters", None)))


def _kinds(parameters: Any) -> Iterator[str]:
    """Of one kind for all layers, or of one for each type of layer."""
    if isinstance(parameters, Mapping):
        for key, value in parameters.items():
            if key == "rope_type":
                yield str(value)
            else:
                yield from _kinds(value)
