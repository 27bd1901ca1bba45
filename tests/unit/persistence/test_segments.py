"""Segments: what is packed is unpacked, what is damaged is refused, and which of them are joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.persistence import segments
from services.persistence.segments import SegmentDamaged, TermRow

_ROWS = st.lists(
    st.builds(
        TermRow,
        ordinal=st.integers(1, 2**62),
        conversation_id=st.sampled_from(["c1", "c2", "c3"]),
        speaker=st.sampled_from(["user", "assistant", "Zoé 🦊"]),
        at=st.floats(-1e11, 1e11),
        words=st.integers(0, 2**31),
        traits=st.integers(0, 2**32 - 1),
        importance=st.floats(0, 1, width=32),
        terms=st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(1, 2**20), max_size=5),
    ),
    max_size=8,
)


def _same(one: segments.TermRows, two: segments.TermRows) -> None:
    for name, value in vars(one).items():
        other = getattr(two, name)
        assert value == other if isinstance(value, tuple) else np.array_equal(value, other), name


def _plain(rows: segments.TermRows) -> list[tuple[object, ...]]:
    """Row by row, ids and names spelled out."""
    ends = np.cumsum(rows.sizes)
    return [
        (
            *(int(rows.ordinals[i]), float(rows.at[i]), int(rows.words[i]), int(rows.traits[i])),
            *(float(rows.importance[i]), rows.conversation_ids[rows.conversations[i]], rows.names[rows.speakers[i]]),
            rows.hashes[ends[i] - rows.sizes[i] : ends[i]].tolist(),
            rows.frequencies[ends[i] - rows.sizes[i] : ends[i]].tolist(),
        )
        for i in range(len(rows))
    ]


@given(_ROWS)
@settings(deadline=None)
def test_what_is_packed_is_unpacked(rows: list[TermRow]) -> None:
    columns = segments.as_rows(rows)
    _same(columns, segments.unpack_terms(segments.pack_terms(columns)))


@given(st.lists(_ROWS, min_size=1, max_size=4))
@settings(deadline=None)
def test_joined_rows_are_those_of_the_parts(parts: list[list[TermRow]]) -> None:
    joined = segments.joined_terms([segments.as_rows(part) for part in parts])
    assert _plain(joined) == _plain(segments.as_rows([row for part in parts for row in part]))


@given(_ROWS, st.sets(st.integers(0, 7)))
@settings(deadline=None)
def test_what_is_taken_out_leaves_no_id_and_no_name(rows: list[TermRow], out: set[int]) -> None:
    keep = np.array([i not in out for i in range(len(rows))], dtype=bool)
    left = [row for i, row in enumerate(rows) if i not in out]
    chosen = segments.chosen_terms(segments.as_rows(rows), keep)
    assert _plain(chosen) == _plain(segments.as_rows(left))
    assert set(chosen.conversation_ids) == {row.conversation_id for row in left}
    assert set(chosen.names) == {row.speaker for row in left}


def test_vectors_have_length_one_and_survive() -> None:
    rows = segments.as_vectors([3, 4], [np.array(v, dtype="<f4").tobytes() for v in ((3, 4, 0), (0, 0, 0))])
    again = segments.unpack_vectors(segments.pack_vectors(rows))
    assert again.ordinals.tolist() == [3, 4]
    np.testing.assert_allclose(again.matrix.astype("f4"), np.array([[0.6, 0.8, 0], [0, 0, 0]]), atol=1e-3)


def _content() -> bytes:
    row = TermRow(1, "c", "user", 0.0, 1, 0, 0.5, {b"x" * 16: 1})
    return segments.pack_terms(segments.as_rows([row]))


@pytest.mark.parametrize(
    "spoilt", [b"", b"MG", _content()[:-1], _content()[:20], b"MGX1" + _content()[4:], b"MGV1" + _content()[4:]]
)
def test_a_damaged_segment_is_refused(spoilt: bytes) -> None:
    with pytest.raises(SegmentDamaged):
        segments.unpack_terms(spoilt)


def test_few_small_segments_are_left_alone() -> None:
    assert segments.merges([(i, 0, 2) for i in range(15)]) == []


def test_many_small_segments_become_one_and_large_ones_stay() -> None:
    heads = [(i, segments.tier_of(2), 2) for i in range(16)] + [
        (100 + i, segments.tier_of(1000), 1000) for i in range(40)
    ]
    assert segments.merges(heads) == [list(range(16))]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=400))
@settings(deadline=None)
def test_segments_stay_few_however_they_come(counts: list[int]) -> None:
    held: dict[int, int] = {}
    for number, count in enumerate(counts):
        held[number] = count
        while chosen := segments.merges([(i, segments.tier_of(c), c) for i, c in held.items()]):
            for ids in chosen:
                total = sum(held.pop(i) for i in ids)
                assert len(ids) > 1
                assert total <= segments.MOST_IN_SEGMENT
                held[max(held, default=number) + 1000] = total
    assert sum(held.values()) == sum(counts)
    assert len(held) <= 2 * 15 + 1 + sum(counts) / 512
