"""Finding many byte strings in much content at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_HEAD = 8
"""Bytes by which a needle is recognised before it is compared whole."""


class Needles:
    """Byte strings to look for, each of at least eight bytes."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._by_head: dict[int, list[bytes]] = {}
        for needle in set(needles):
            if len(needle) < _HEAD:
                raise ValueError("a needle of fewer than eight bytes is found everywhere")
            self._by_head.setdefault(int.from_bytes(needle[:_HEAD], "little"), []).append(needle)
        self._heads = np.array(sorted(self._by_head), dtype="<u8")
        self._pairs = np.zeros(2**16, dtype=bool)
        self._pairs[(self._heads & 0xFFFF).astype(int)] = True

    def within(self, content: bytes) -> set[bytes]:
        """Those that lie anywhere in it."""
        if len(content) < _HEAD or not len(self._heads):
            return set()
        read = np.frombuffer(content, dtype=np.uint8)
        last = len(read) - _HEAD + 1
        pairs = read[:last].astype(np.uint16) | (read[1 : last + 1].astype(np.uint16) << 8)
        places = np.flatnonzero(self._pairs[pairs])
        windows = np.lib.stride_tricks.sliding_window_view(read, _HEAD)[places]
        heads = np.ascontiguousarray(windows).view("<u8").ravel()
        chosen = np.isin(heads, self._heads)
        return {
            needle
            for place, head in zip(places[chosen].tolist(), heads[chosen].tolist(), strict=True)
            for needle in self._by_head[head]
            if content.startswith(needle, place)
        }
