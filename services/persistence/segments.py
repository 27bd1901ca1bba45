"""Sealed pieces of an index: memories with their keyed terms, or with their vectors, packed so that numpy reads them as
they lie. Pure.

A segment is ``magic, length of the head, head (JSON), arrays``; every array begins at a multiple of eight bytes. Ids
and names stand once in the head, and rows point to them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TERM_BYTES = 8
"""Of a keyed hash. Among a million different terms two meet with a probability of 3 in 10⁸."""
_TERMS = b"MGT1"
_VECTORS = b"MGV1"
_PREFIX = struct.Struct("<4sI")
_ALIGNMENT = 8
_MOST_FREQUENT = 0xFFFF

_ROW_TYPES = {
    "ordinals": "<i8",
    "at": "<f8",
    "conversations": "<u4",
    "speakers": "<u4",
    "words": "<u4",
    "traits": "<u4",
    "importance": "<f4",
    "sizes": "<u4",
}


class SegmentDamaged(Exception):
    """The content is no segment of this format."""


@dataclass(frozen=True, kw_only=True)
class TermRows:
    """Memories as columns. The terms of one follow those of the one before it: ``sizes`` says how many each has."""

    ordinals: Array
    at: Array
    """Seconds since 1970."""
    conversations: Array
    """Places in ``conversation_ids``."""
    speakers: Array
    """Places in ``names``."""
    words: Array
    traits: Array
    importance: Array
    sizes: Array
    hashes: Array
    frequencies: Array
    conversation_ids: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ordinals)


@dataclass(frozen=True)
class VectorRows:
    """Unit vectors of one embedder."""

    ordinals: Array
    matrix: Array
    """float16, a row a memory."""

    def __len__(self) -> int:
        return len(self.ordinals)


@dataclass(frozen=True)
class TermRow:
    """One memory on its way into the index."""

    ordinal: int
    conversation_id: str
    speaker: str
    at: float
    words: int
    traits: int
    importance: float
    terms: dict[bytes, int]
    """Keyed hash → how often it occurs."""


def as_rows(rows: Sequence[TermRow]) -> TermRows:
    """The rows as columns."""
    conversations = _Places(row.conversation_id for row in rows)
    names = _Places(row.speaker for row in rows)
    hashes = b"".join(term[:TERM_BYTES] for row in rows for term in row.terms)
    frequencies = [min(count, _MOST_FREQUENT) for row in rows for count in row.terms.values()]
    columns = {
        "ordinals": [row.ordinal for row in rows],
        "at": [row.at for row in rows],
        "conversations": conversations.places,
        "speakers": names.places,
        "words": [row.words for row in rows],
        "traits": [row.traits for row in rows],
        "importance": [row.importance for row in rows],
        "sizes": [len(row.terms) for row in rows],
    }
    return TermRows(
        **{name: np.array(values, dtype=_ROW_TYPES[name]) for name, values in columns.items()},
        hashes=np.frombuffer(hashes, dtype="<u8"),
        frequencies=np.array(frequencies, dtype="<u2"),
        conversation_ids=conversations.values,
        names=names.values,
    )


def term_number(term_hash: bytes) -> int:
    """A keyed hash as it stands among the ``hashes`` of rows."""
    return int.from_bytes(term_hash[:TERM_BYTES], "little")


class _Places:
    """Values that repeat, each by the place of its first occurrence."""

    def __init__(self, values: Iterable[str]) -> None:
        known: dict[str, int] = {}
        self.places = [known.setdefault(value, len(known)) for value in values]
        self.values = tuple(known)


def as_vectors(ordinals: Sequence[int], vectors: Sequence[bytes]) -> VectorRows:
    """Little-endian float32 vectors of one length, brought to length 1 (one of length 0 stays)."""
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit = np.divide(matrix, lengths, out=np.zeros_like(matrix), where=lengths > 0)
    return VectorRows(np.array(ordinals, dtype="<i8"), unit.astype("<f2"))


def chosen_terms(rows: TermRows, keep: Array) -> TermRows:
    """Those rows where ``keep`` is true. Ids and names that no row needs any more are gone too."""
    of_terms = np.repeat(keep, rows.sizes)
    conversations, conversation_ids = _still_needed(rows.conversations[keep], rows.conversation_ids)
    speakers, names = _still_needed(rows.speakers[keep], rows.names)
    return TermRows(
        ordinals=rows.ordinals[keep],
        at=rows.at[keep],
        conversations=conversations,
        speakers=speakers,
        words=rows.words[keep],
        traits=rows.traits[keep],
        importance=rows.importance[keep],
        sizes=rows.sizes[keep],
        hashes=rows.hashes[of_terms],
        frequencies=rows.frequencies[of_terms],
        conversation_ids=conversation_ids,
        names=names,
    )


def _still_needed(places: Array, values: tuple[str, ...]) -> tuple[Array, tuple[str, ...]]:
    needed, renumbered = np.unique(places, return_inverse=True)
    return renumbered.astype("<u4"), tuple(values[place] for place in needed)


def chosen_vectors(rows: VectorRows, keep: Array) -> VectorRows:
    """Those rows where ``keep`` is true."""
    return VectorRows(rows.ordinals[keep], rows.matrix[keep])


def joined_terms(parts: Sequence[TermRows]) -> TermRows:
    """All rows, in order."""
    conversations, conversation_ids = _joined([(part.conversations, part.conversation_ids) for part in parts])
    speakers, names = _joined([(part.speakers, part.names) for part in parts])
    plain = {
        name: _together([getattr(part, name) for part in parts], dtype)
        for name, dtype in (_ROW_TYPES | {"hashes": "<u8", "frequencies": "<u2"}).items()
    }
    return TermRows(
        **(plain | {"conversations": conversations, "speakers": speakers}),
        conversation_ids=conversation_ids,
        names=names,
    )


def _joined(parts: Sequence[tuple[Array, tuple[str, ...]]]) -> tuple[Array, tuple[str, ...]]:
    known: dict[str, int] = {}
    columns = []
    for places, values in parts:
        renumbered = np.array([known.setdefault(value, len(known)) for value in values], dtype="<u4")
        columns.append(renumbered[places] if len(places) else places)
    return _together(columns, "<u4"), tuple(known)


def _together(columns: Sequence[Array], dtype: str) -> Array:
    return np.concatenate(columns) if columns else np.zeros(0, dtype=dtype)


def joined_vectors(parts: Sequence[VectorRows]) -> VectorRows:
    """All rows, in order; there is at least one part, and all are of one embedder."""
    return VectorRows(
        np.concatenate([part.ordinals for part in parts]), np.concatenate([part.matrix for part in parts])
    )


def pack_terms(rows: TermRows) -> bytes:
    """The bytes to seal."""
    head = {
        "rows": len(rows),
        "terms": len(rows.hashes),
        "conversations": rows.conversation_ids,
        "names": rows.names,
    }
    return _pack(_TERMS, head, [getattr(rows, name) for name in _ROW_TYPES] + [rows.hashes, rows.frequencies])


def unpack_terms(content: bytes) -> TermRows:
    """Raises SegmentDamaged."""
    head, take = _unpack(_TERMS, content)
    columns = {name: take(dtype, head["rows"]) for name, dtype in _ROW_TYPES.items()}
    return TermRows(
        **columns,
        hashes=take("<u8", head["terms"]),
        frequencies=take("<u2", head["terms"]),
        conversation_ids=tuple(head["conversations"]),
        names=tuple(head["names"]),
    )


def pack_vectors(rows: VectorRows) -> bytes:
    """The bytes to seal."""
    head = {"rows": len(rows), "dimensions": rows.matrix.shape[1]}
    return _pack(_VECTORS, head, [rows.ordinals, np.ascontiguousarray(rows.matrix)])


def unpack_vectors(content: bytes) -> VectorRows:
    """Raises SegmentDamaged."""
    head, take = _unpack(_VECTORS, content)
    shape = head["rows"], head["dimensions"]
    return VectorRows(take("<i8", shape[0]), take("<f2", shape[0] * shape[1]).reshape(shape))


def _pack(magic: bytes, head: dict[str, object], arrays: Sequence[Array]) -> bytes:
    described = json.dumps(head, separators=(",", ":")).encode()
    pieces = [_PREFIX.pack(magic, len(described)), described]
    written = _PREFIX.size + len(described)
    for array in arrays:
        padding = -written % _ALIGNMENT
        pieces += [b"\0" * padding, array.tobytes()]
        written += padding + array.nbytes
    return b"".join(pieces)


def _unpack(magic: bytes, content: bytes) -> tuple[dict[str, Any], Callable[[str, int], Array]]:
    if len(content) < _PREFIX.size:
        raise SegmentDamaged("too short")
    found, length = _PREFIX.unpack_from(content)
    if found != magic:
        raise SegmentDamaged("another format")
    at = _PREFIX.size + length

    def take(dtype: str, count: int) -> Array:
        nonlocal at
        at += -at % _ALIGNMENT
        size = np.dtype(dtype).itemsize * count
        if at + size > len(content):
            raise SegmentDamaged("cut short")
        array = np.frombuffer(content, dtype=dtype, count=count, offset=at)
        at += size
        return array

    try:
        return json.loads(content[_PREFIX.size : at]), take
    except ValueError:
        raise SegmentDamaged("the head can't be read") from None


MOST_IN_SEGMENT = 2048
"""Memories: a forgetting rewrites about as much as it touches, and a cold start opens few of them."""
_TIERS = (16, 512)
"""Below so many memories a segment is of tier 0, then 1, then it is complete."""
MERGED_AT_ONCE = 16


def tier_of(count: int) -> int:
    """0 and 1 are merged once there are enough of them, 2 is not."""
    return sum(count >= bound for bound in _TIERS)


def is_small(tier: int) -> bool:
    """Whether segments of the tier are still to be merged."""
    return tier < len(_TIERS)


def merges(segments: Sequence[tuple[int, int, int]]) -> list[list[int]]:
    """What to join of ``(segment id, tier, count)``, oldest first: ids that become one segment each."""
    found = []
    for tier in range(len(_TIERS)):
        waiting = sorted((segment_id, count) for segment_id, of_tier, count in segments if of_tier == tier)
        if len(waiting) >= MERGED_AT_ONCE:
            found.append(_fitting(waiting))
    return found


def _fitting(waiting: Sequence[tuple[int, int]]) -> list[int]:
    taken, total = [], 0
    for segment_id, count in waiting:
        if total + count > MOST_IN_SEGMENT:
            break
        taken.append(segment_id)
        total += count
    return taken
