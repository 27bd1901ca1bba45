"""Nearest vectors: exact while they are few, and nearly so by their signs when they are many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.persistence import nearest
from services.persistence.nearest import Signs, Vectors, cosines, fewest, singles, unit
from services.persistence.segments import Array

Floats = np.typing.NDArray[np.float32]


@given(st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=64))
def test_every_half_becomes_the_same_single(numbers: list[float]) -> None:
    halves = np.array(numbers, dtype=np.float16)
    assert np.array_equal(singles(halves), halves.astype(np.float32))


def test_a_direction_has_length_one_and_nothing_has_none() -> None:
    assert np.allclose(unit(np.array([3, 4], dtype="<f4").tobytes()), [0.6, 0.8])
    assert np.array_equal(unit(bytes(8)), [0, 0])


@given(st.lists(st.integers(0, 400), min_size=1, max_size=200), st.integers(1, 50))
def test_those_with_the_fewest_differences_are_chosen_with_all_ties(differences: list[int], most: int) -> None:
    chosen = fewest(np.array(differences, dtype=np.uint16), most)
    limit = sorted(differences)[min(most, len(differences)) - 1]
    assert set(chosen) >= {i for i, d in enumerate(differences) if d <= limit}
    assert len(chosen) >= min(most, len(differences))


def _clustered(rng: np.random.Generator, count: int, dimensions: int = 96) -> Floats:
    """Directions in groups, off the centre: as texts' embeddings lie."""
    topics = rng.standard_normal((300, dimensions)) + 0.5
    drawn = topics[rng.integers(len(topics), size=count)] + rng.standard_normal((count, dimensions)) * 0.7
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def _filled(matrix: Floats, portions: int) -> Vectors:
    vectors = Vectors(matrix.shape[1], 16)
    size = 0
    for portion in np.array_split(matrix, portions):
        numbers = np.arange(size, size + len(portion))
        size += len(portion)
        vectors.reserve(size)
        vectors.put(numbers, portion.astype(np.float16), size)
    return vectors


def recall(vectors: Vectors, matrix: Floats, questions: Floats, k: int = 10) -> float:
    """The share of the k nearest that are found."""
    found = 0
    for question in questions:
        rows, _ = vectors.nearest(question, len(matrix), None, k)
        found += len(set(rows.tolist()) & set(np.argsort(-(matrix @ question))[:k].tolist()))
    return found / (k * len(questions))


@pytest.mark.parametrize("portions", [1, 7])
def test_many_vectors_lose_next_to_nothing(portions: int) -> None:
    rng = np.random.default_rng(11)
    drawn = _clustered(rng, 20_050)
    matrix, questions = drawn[:20_000], drawn[20_000:]
    vectors = _filled(matrix, portions)
    assert vectors.signs is not None
    assert recall(vectors, matrix, questions) >= 0.99


def test_few_vectors_are_compared_exactly() -> None:
    rng = np.random.default_rng(12)
    drawn = _clustered(rng, 1_020)
    vectors = _filled(drawn[:1_000].astype(np.float16).astype(np.float32), 3)
    assert vectors.signs is None
    assert recall(vectors, singles(drawn[:1_000].astype(np.float16)), drawn[1_000:]) == 1.0


def test_only_what_is_meant_and_there_is_compared() -> None:
    rng = np.random.default_rng(13)
    matrix = _clustered(rng, 9_000)
    vectors = _filled(matrix, 1)
    vectors.erase(np.arange(0, 9_000, 2))
    for few in (9_000, 300):
        within = np.arange(9_000) < few
        rows, near = vectors.nearest(matrix[1], 9_000, within, 20)
        assert 1 in rows.tolist()
        assert len(rows) == 20
        assert (rows % 2 == 1).all()
        assert (rows < few).all()
        assert np.allclose(near, cosines(vectors.matrix, rows, matrix[1]))
    assert not vectors.matrix[::2].any()


def _few_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nearest, "_COMPARED", 20)
    patch.setattr(nearest, "_COMPARED_TIMES", 1)


def _signs_of_another(patch: pytest.MonkeyPatch) -> None:
    real = Signs.bits
    patch.setattr(Signs, "bits", lambda self, vectors: real(self, vectors[:, ::-1] if len(vectors) == 1 else vectors))


def _later_ones_unsigned(patch: pytest.MonkeyPatch) -> None:
    real = Vectors.put

    def put(self: Vectors, numbers: Array, matrix: Array, size: int) -> None:
        signs, self.signs = self.signs, None
        if signs is None:
            self.signs = None
            real(self, numbers, matrix, size)
        else:
            self.matrix[numbers], self.present[numbers] = matrix, True
            self.signs = signs

    patch.setattr(Vectors, "put", put)


@pytest.mark.parametrize("mutate", [_few_compared, _signs_of_another, _later_ones_unsigned])
def test_a_worse_choice_would_be_noticed(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        test_many_vectors_lose_next_to_nothing(7)
