"""Finding many byte strings in much content at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_HEAD = 8
"""Bytes by which a needle is recognised before it is compared whole."""
_WORD = 4
"""Content is read in words of so many bytes. Wherever a head lies, it holds one of them whole, at one of as many
places."""
_MIXED = np.uint32(2654435761)
_BITS = 20
_SHIFT = np.uint32(32 - _BITS)


class Needles:
    """Byte strings to look for, each of at least eight bytes."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self._by_head: dict[int, list[bytes]] = {}
        for needle in set(needles):
            if len(needle) < _HEAD:
                raise ValueError("a needle of fewer than eight bytes is found everywhere")
            self._by_head.setdefault(int.from_bytes(needle[:_HEAD], "little"), []).append(needle)
        self._heads = np.array(sorted(self._by_head), dtype="<u8")
        self._words = np.zeros(2**_BITS, dtype=bool)
        """Whether a head holds a word that is mixed to this."""
        for place in range(_WORD):
            self._words[_mixed((self._heads >> np.uint64(8 * place)).astype("<u4"))] = True

    def within(self, content: bytes) -> set[bytes]:
        """Those that lie anywhere in it."""
        if len(content) < _HEAD or not len(self._heads):
            return set()
        words = np.frombuffer(content, dtype="<u4", count=len(content) // _WORD)
        likely = np.flatnonzero(self._words[_mixed(words)]) * _WORD
        places = (likely[:, None] - np.arange(_WORD)).ravel()
        places = places[(places >= 0) & (places <= len(content) - _HEAD)]
        read = np.frombuffer(content, dtype=np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(read, _HEAD)[places]
        heads = np.ascontiguousarray(windows).view("<u8").ravel()
        chosen = np.isin(heads, self._heads)
        return {
            needle
            for place, head in zip(places[chosen].tolist(), heads[chosen].tolist(), strict=True)
            for needle in self._by_head[head]
            if content.startswith(needle, place)
        }


def _mixed(words: np.ndarray[tuple[int, ...], np.dtype[np.uint32]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    """A word's place in the table, by a multiplication that wraps."""
    return (words * _MIXED) >> _SHIFT
