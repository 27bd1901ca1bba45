"""Packed postings: how a term's documents lie in bytes and blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

_POSTING = Struct("<IHH")
"""Document number, how often the term occurs in it, and how many terms it has."""
POSTING_BYTES = _POSTING.size
BLOCK_POSTINGS = 512
_U16 = 0xFFFF


@dataclass(frozen=True)
class Block:
    """One stored block of a term's postings."""

    block: int
    postings: bytes

    @property
    def count(self) -> int:
        return len(self.postings) // POSTING_BYTES


def pack(postings: Iterable[tuple[int, int, int]]) -> bytes:
    """(document number, frequency, document length) as bytes; counts over 65,535 are cut to it."""
    return b"".join(
        _POSTING.pack(number, min(frequency, _U16), min(length, _U16)) for number, frequency, length in postings
    )


def append(last: Block | None, added: bytes) -> list[Block]:
    """The blocks to write so that ``added`` follows ``last``: its longer self, then new ones."""
    room = BLOCK_POSTINGS * POSTING_BYTES
    block, content = (last.block, last.postings) if last else (0, b"")
    if last and len(content) >= room:
        block, content = last.block + 1, b""
    content += added
    return [Block(block + i, content[start : start + room]) for i, start in enumerate(range(0, len(content), room))]
