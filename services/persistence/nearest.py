"""The vectors of one memory, and which of them are nearest to a question's, by numpy. Pure.

Vectors are kept as float16. Up to a measured number every one is compared; above, signs of a rotation of each vector
(Charikar, Similarity Estimation Techniques from Rounding Algorithms, 2002) say which few thousand are worth comparing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from services.persistence.segments import Array

EXACT_UP_TO = 4096
"""Vectors: comparing all of them takes about as long as looking for those worth it."""
_COMPARED = 1024
_COMPARED_TIMES = 16
"""So many for each that is wanted: of the 48 nearest of 100,000 real vectors 0.998 are then found, of 10 all."""
_PORTION = 256
"""Vectors that are brought to float32 at once: they stay in the processor's cache."""
_BITS = 64
_HALF_TO_SINGLE = np.float32(2.0**112)


def singles(halves: Array) -> Array:
    """float32 from float16 (finite ones), several times faster than ``astype``: the bits are moved to their places, and
    the difference of the exponents' biases is multiplied away."""
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70000001)  # the sign was extended into the exponent
    numbers = bits.view(np.float32)
    numbers *= _HALF_TO_SINGLE
    return numbers


def cosines(matrix: Array, rows: Array, vector: Array) -> Array:
    """Of the chosen rows with a unit vector."""
    found = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _PORTION):
        portion = rows[start : start + _PORTION]
        found[start : start + _PORTION] = singles(matrix[portion]) @ vector
    return found


def unit(vector: bytes) -> Array:
    """The direction of a vector of little-endian float32 values."""
    numbers = np.frombuffer(vector, dtype="<f4")
    length = float(np.linalg.norm(numbers))
    return numbers / np.float32(length) if length else numbers


def _rotation(dimensions: int) -> Array:
    draw = np.random.default_rng(dimensions).standard_normal((dimensions, dimensions))
    return np.linalg.qr(draw)[0].astype(np.float32)


@dataclass
class Signs:
    """One bit a dimension of the rotated, centred vectors; ``words`` are stored one under the other, so that comparing
    reads memory in order."""

    center: Array
    rotation: Array
    words: Array
    """(bits / 64, capacity)"""

    @classmethod
    def of(cls, matrix: Array, size: int, capacity: int) -> Signs:
        """Signs of the first ``size`` rows, with room for ``capacity``."""
        dimensions = matrix.shape[1]
        sample = singles(matrix[: size : max(1, size // 4096)])
        words = np.zeros((-(-dimensions // _BITS), capacity), dtype=np.uint64)
        signs = cls(sample.mean(axis=0), _rotation(dimensions), words)
        signs.write(matrix, 0, size)
        return signs

    def write(self, matrix: Array, first: int, last: int) -> None:
        """The signs of these rows."""
        for start in range(first, last, _COMPARED):
            end = min(start + _COMPARED, last)
            self.words[:, start:end] = self.bits(singles(matrix[start:end])).T

    def bits(self, vectors: Array) -> Array:
        """(vectors, words)"""
        positive = (vectors - self.center) @ self.rotation > 0
        packed = np.zeros((len(vectors), len(self.words) * (_BITS // 8)), dtype=np.uint8)
        signs = np.packbits(positive, axis=1)
        packed[:, : signs.shape[1]] = signs
        return packed.view(np.uint64)

    def differences(self, vector: Array, size: int) -> Array:
        """In how many signs each of the first ``size`` rows differs from the vector."""
        asked = self.bits(vector[None, :])[0]
        different = np.zeros(size, dtype=np.uint16)
        buffer, counted = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.uint8)
        for words, word in zip(self.words, asked, strict=True):
            np.bitwise_xor(words[:size], word, out=buffer)
            np.bitwise_count(buffer, out=counted)
            np.add(different, counted, out=different)
        return different


def fewest(differences: Array, most: int) -> Array:
    """Rows with the fewest differences: at least ``most`` of them, with all ties."""
    if len(differences) <= most:
        return np.arange(len(differences))
    reached = np.bincount(differences).cumsum()
    return np.flatnonzero(differences <= np.searchsorted(reached, most))


@dataclass
class Vectors:
    """The vectors of one embedder, by number."""

    dimensions: int
    capacity: int
    matrix: Array = field(init=False)
    present: Array = field(init=False)
    signs: Signs | None = None

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.capacity, self.dimensions), dtype=np.float16)
        self.present = np.zeros(self.capacity, dtype=bool)

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        signs = self.signs.words.nbytes if self.signs else 0
        return self.matrix.nbytes + self.present.nbytes + signs

    def reserve(self, capacity: int) -> None:
        """Room for numbers below ``capacity``."""
        if capacity <= self.capacity:
            return
        self.matrix = grown(self.matrix, capacity)
        self.present = grown(self.present, capacity)
        if self.signs is not None:
            self.signs.words = grown(self.signs.words.T, capacity).T.copy()
        self.capacity = capacity

    def put(self, numbers: Array, matrix: Array, size: int) -> None:
        """Writes vectors at ``numbers``, all below ``size``."""
        self.matrix[numbers] = matrix
        if self.signs is not None:
            self.signs.words[:, numbers] = self.signs.bits(singles(matrix)).T
        elif size > EXACT_UP_TO:
            self.signs = Signs.of(self.matrix, size, self.capacity)
        self.present[numbers] = True

    def erase(self, numbers: Array) -> None:
        """Overwrites vectors."""
        self.present[numbers] = False
        self.matrix[numbers] = 0

    def nearest(self, vector: Array, size: int, within: Array | None, most: int) -> tuple[Array, Array]:
        """Numbers below ``size`` and their cosines: the ``most`` nearest, in no order. ``within``: one truth a number,
        where not all are meant."""
        wanted = self.present[:size] if within is None else self.present[:size] & within
        rows = self._worth_comparing(vector, size, wanted, max(_COMPARED, _COMPARED_TIMES * most))
        near = cosines(self.matrix, rows, vector)
        if len(rows) > most:
            best = np.argpartition(near, len(rows) - most)[len(rows) - most :]
            rows, near = rows[best], near[best]
        return rows, near

    def _worth_comparing(self, vector: Array, size: int, wanted: Array, most: int) -> Array:
        rows = np.flatnonzero(wanted)
        if self.signs is None or len(rows) <= EXACT_UP_TO:
            return rows
        differences = self.signs.differences(vector, size)
        differences[~wanted] = len(self.signs.words) * _BITS + 1
        return fewest(differences, most)


def grown(array: Array, capacity: int) -> Array:
    """The array with room for more rows."""
    larger = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
