"""The index in memory against a plain model: whatever is added, forgotten, merged and reloaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.persistence import memory_index, scoring, segments
from services.persistence.candidates import Asked, candidates, search
from services.persistence.memory_index import MemoryIndex, State
from services.persistence.sealing import UserKeys
from services.persistence.segments import TermRow

KEYS = UserKeys(b"k" * 32)
EMBEDDER = "test@1"
WORDS = "abcdef"
AROUND = {0: 1.0, -1: 0.5, -2: 0.3, 1: 0.3}


@dataclass(frozen=True)
class Said:
    """A memory of the model, in plain words."""

    ordinal: int
    conversation: str
    at: int
    words: tuple[str, ...]

    @property
    def vector(self) -> list[float]:
        return [self.words.count(word) + 0.1 for word in WORDS]


@dataclass
class Model:
    """What there is, and what its scores are by the formula."""

    said: dict[int, Said] = field(default_factory=dict)

    def scores(self, query: set[str]) -> dict[int, float]:
        every = list(self.said.values())
        mean = sum(len(one.words) for one in every) / max(len(every), 1)
        result: dict[int, float] = {}
        for conversation in {one.conversation for one in every}:
            own = sorted((s for s in every if s.conversation == conversation), key=lambda s: (s.at, s.ordinal))
            for place, one in enumerate(own):
                beside = {o: own[place + o].words for o in AROUND if 0 <= place + o < len(own)}
                result[one.ordinal] = self._score(query, beside, mean)
        return {ordinal: score for ordinal, score in result.items() if score > 0}

    def _score(self, query: set[str], beside: dict[int, tuple[str, ...]], mean: float) -> float:
        length = sum(AROUND[o] * len(words) for o, words in beside.items())
        norm = 0.8 * (0.25 + 0.75 * length / max(mean * sum(AROUND.values()), 1e-9))
        score = 0.0
        for term in query:
            n = sum(term in one.words for one in self.said.values())
            idf = math.log(1 + (max(len(self.said), scoring.FEWEST) - n + 0.5) / (n + 0.5))
            frequency = sum(AROUND[o] * words.count(term) for o, words in beside.items())
            score += idf * frequency * 1.8 / (frequency + norm)
        return score

    def cosines(self, vector: Sequence[float]) -> dict[int, float]:
        return {ordinal: _cosine(one.vector, vector) for ordinal, one in self.said.items()}


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def term_rows(said: Sequence[Said]) -> segments.TermRows:
    return segments.as_rows(
        [
            TermRow(
                ordinal=one.ordinal,
                conversation_id=one.conversation,
                speaker="user",
                at=float(one.at),
                words=len(one.words),
                traits=0,
                importance=0.5,
                terms={KEYS.hash_term(word): count for word, count in Counter(one.words).items()},
            )
            for one in said
        ]
    )


def vector_rows(said: Sequence[Said]) -> segments.VectorRows:
    return segments.as_vectors(
        [one.ordinal for one in said], [np.array(one.vector, dtype="<f4").tobytes() for one in said]
    )


def asked(query: set[str], vector: Sequence[float] | None = None, limit: int = 1000) -> Asked:
    terms = tuple(int.from_bytes(KEYS.hash_term(word)[: segments.TERM_BYTES], "little") for word in sorted(query))
    direction = None if vector is None else np.array(vector, dtype=np.float32) / np.float32(np.linalg.norm(vector))
    return Asked(terms, direction, EMBEDDER, limit, ())


@dataclass
class Twin:
    """An index and its model, changed together; ``segments`` are what lies at rest."""

    index: MemoryIndex = field(default_factory=MemoryIndex)
    model: Model = field(default_factory=Model)
    at_rest: list[tuple[bytes, bytes]] = field(default_factory=list)

    def add(self, said: Sequence[Said]) -> None:
        fresh = [one for one in said if one.ordinal not in self.model.said]
        terms, vectors = term_rows(fresh), vector_rows(fresh) if fresh else None
        self.index.reserve(len(terms))
        self.index.add(terms, vectors, EMBEDDER)
        self.model.said |= {one.ordinal: one for one in fresh}
        if vectors is not None:
            self.at_rest.append((segments.pack_terms(terms), segments.pack_vectors(vectors)))

    def forget(self, ordinals: Sequence[int]) -> None:
        self.index.forget(ordinals)
        assert not set(ordinals) & self.found(set(WORDS), self.directions()).keys()
        self.index.settle()
        for ordinal in ordinals:
            self.model.said.pop(ordinal, None)
        self.at_rest = [self._rewritten(pair, ordinals) for pair in self.at_rest]

    def _rewritten(self, pair: tuple[bytes, bytes], gone: Sequence[int]) -> tuple[bytes, bytes]:
        terms, vectors = segments.unpack_terms(pair[0]), segments.unpack_vectors(pair[1])
        return (
            segments.pack_terms(segments.chosen_terms(terms, ~np.isin(terms.ordinals, gone))),
            segments.pack_vectors(segments.chosen_vectors(vectors, ~np.isin(vectors.ordinals, gone))),
        )

    def merge(self) -> None:
        if self.at_rest:
            terms = segments.joined_terms([segments.unpack_terms(terms) for terms, _ in self.at_rest])
            vectors = segments.joined_vectors([segments.unpack_vectors(vectors) for _, vectors in self.at_rest])
            self.at_rest = [(segments.pack_terms(terms), segments.pack_vectors(vectors))]

    def reload(self) -> None:
        self.merge()
        self.index = MemoryIndex()
        for terms, vectors in self.at_rest:
            rows = segments.unpack_terms(terms)
            self.index.reserve(len(rows))
            self.index.add(rows, segments.unpack_vectors(vectors), EMBEDDER)

    def directions(self) -> list[float]:
        return [float(place + 1) for place in range(len(WORDS))]

    def found(self, query: set[str], vector: Sequence[float]) -> dict[int, tuple[float, float | None]]:
        found = candidates(self.index, search(self.index, asked(query, vector)), ())
        return dict(zip(found.ordinals, zip(found.bm25, found.cosine, strict=True), strict=True))

    def compare(self, query: set[str]) -> None:
        found = self.found(query, self.directions())
        scores, cosines = self.model.scores(query), self.model.cosines(self.directions())
        assert set(found) == set(self.model.said)
        for ordinal, (bm25, cosine) in found.items():
            assert bm25 == pytest.approx(scores.get(ordinal, 0.0), rel=1e-4, abs=1e-6)
            assert cosine == pytest.approx(cosines[ordinal], abs=2e-3)
        assert self.index.view.documents == len(self.model.said)


_SAID = st.builds(
    Said,
    ordinal=st.integers(1, 60),
    conversation=st.sampled_from("xyz"),
    at=st.integers(0, 9),
    words=st.lists(st.sampled_from(WORDS), max_size=6).map(tuple),
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(_SAID, min_size=1, max_size=8, unique_by=lambda one: one.ordinal)),
        st.tuples(st.just("forget"), st.lists(st.integers(1, 60), min_size=1, max_size=6, unique=True)),
        st.tuples(st.sampled_from(["merge", "reload", "lay out"]), st.none()),
    ),
    max_size=10,
)


def play(steps: Sequence[tuple[str, list[Said] | list[int] | None]], queries: Sequence[set[str]]) -> None:
    twin = Twin()
    for name, what in steps:
        match name:
            case "add":
                twin.add([one for one in what or () if isinstance(one, Said)])
            case "forget":
                twin.forget([ordinal for ordinal in what or () if isinstance(ordinal, int)])
            case "merge":
                twin.merge()
            case "lay out":
                twin.index._lay_out_all()
            case _:
                twin.reload()
        for query in queries:
            twin.compare(query)


@given(_STEPS, st.lists(st.sets(st.sampled_from(WORDS), max_size=3), min_size=1, max_size=2))
@settings(max_examples=120, deadline=None)
def test_any_course_of_changes_gives_what_the_formula_says(
    steps: Sequence[tuple[str, list[Said] | list[int] | None]], queries: Sequence[set[str]]
) -> None:
    play(steps, queries)


COURSE: list[tuple[str, list[Said] | list[int] | None]] = [
    ("add", [Said(1, "x", 0, ("a", "b")), Said(2, "x", 5, ("b",)), Said(3, "x", 9, ("c", "a"))]),
    ("lay out", None),
    ("add", [Said(4, "x", 2, ("a", "c")), Said(5, "y", 0, ("a",))]),
    ("forget", [2]),
    ("merge", None),
    ("reload", None),
    ("add", [Said(6, "x", 4, ("b", "b", "a"))]),
    ("lay out", None),
    ("forget", [6]),
]
QUERIES = [{"a"}, {"b", "c"}]


def test_the_course_of_the_mutations_is_right() -> None:
    play(COURSE, QUERIES)


def _nothing_disturbed(patch: pytest.MonkeyPatch) -> None:
    def disturbed(self: MemoryIndex, order: segments.Array, _: segments.Array) -> segments.Array:
        return np.array([number >= self.view.size or self.view.in_recent[number] for number in order], dtype=bool)

    patch.setattr(MemoryIndex, "_disturbed", disturbed)


def _counted_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryIndex, "_without", lambda _self, base, _numbers: base)


def _no_gaps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scoring, "GAP", 1)


def _seen_after_forgetting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryIndex, "forget", lambda _self, _ordinals: None)


def _neighbours_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryIndex, "settle", lambda self, touched=None: _settle_only_new(self, touched))


_settle = MemoryIndex.settle


def _settle_only_new(index: MemoryIndex, touched: segments.Array | None) -> None:
    index._unsettled = False
    _settle(index, touched)


def _segments_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Twin, "_rewritten", lambda _self, pair, _gone: pair)


@pytest.mark.parametrize(
    "mutate",
    [_nothing_disturbed, _counted_twice, _no_gaps, _seen_after_forgetting, _neighbours_kept, _segments_kept],
)
def test_the_comparison_notices(mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    with pytest.raises((AssertionError, IndexError)):
        play(COURSE, QUERIES)


def test_a_frequent_term_scores_the_same_added_up_over_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    said = [Said(i + 1, f"c{i // 7}", i, tuple(rng.choice(list(WORDS), size=rng.integers(0, 6)))) for i in range(300)]
    found = []
    for dense in (1, 10**9):
        monkeypatch.setattr(scoring, "_DENSE", dense)
        twin = Twin()
        twin.add(said)
        twin.compare({"a", "f"})
        found.append(twin.found({"a", "f"}, twin.directions()))
    assert found[0].keys() == found[1].keys()
    for ordinal, (bm25, _) in found[0].items():
        assert bm25 == pytest.approx(found[1][ordinal][0], rel=1e-5)


def test_many_additions_are_laid_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_index, "_MOST_RECENT", 8)
    twin = Twin()
    for i in range(60):
        twin.add([Said(i + 1, "x", i % 7, tuple(WORDS[i % 5 : i % 5 + 2]))])
        # beside what is new, those that it stands between
        assert int(twin.index.view.in_recent.sum()) <= 8 + 4
    twin.compare({"a", "b"})


def test_a_memory_that_is_superseded_brings_the_newer_ones() -> None:
    twin = Twin()
    twin.add([Said(i, "x", i, ("a",) if i == 1 else ("b",)) for i in range(1, 30, 4)])
    twin.index.set_newer([(1, 9), (9, 17), (25, 25), (5, 1000)])
    found = candidates(twin.index, search(twin.index, asked({"a"}, limit=1)), ())
    newer = {found.ordinals[i]: found.ordinals[place] for i, place in enumerate(found.newer) if place >= 0}
    assert newer == {1: 9, 9: 17}


def test_a_turn_with_every_term_scores_what_a_whole_one_is_said_to() -> None:
    twin = Twin()
    twin.add([Said(1, "x", 0, ("a", "b")), Said(2, "y", 1, ("c", "d")), Said(3, "z", 2, ("a", "e"))])
    found = search(twin.index, asked({"a", "b"}))
    assert found.whole_bm25 == pytest.approx(float(found.bm25.max()), rel=1e-5)
    assert search(twin.index, asked({"a", "b", "f"})).whole_bm25 > found.whole_bm25
    assert search(twin.index, asked(set())).whole_bm25 == 0.0


def check_a_fact_may_come_before_its_memory() -> None:
    twin = Twin()
    twin.add([Said(1, "x", 0, ("a",))])
    twin.index.set_newer([(1, 9)])
    twin.add([Said(9, "y", 9, ("b",))])
    found = candidates(twin.index, search(twin.index, asked({"a"}, limit=1)), ())
    assert {found.ordinals[i]: found.ordinals[place] for i, place in enumerate(found.newer) if place >= 0} == {1: 9}


def test_facts_that_were_told_before_their_memory_was_indexed_count_afterwards() -> None:
    check_a_fact_may_come_before_its_memory()


def test_facts_forgotten_while_their_memory_is_indexed_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryIndex, "_link", lambda self, known: None)
    with pytest.raises(AssertionError):
        check_a_fact_may_come_before_its_memory()


def test_what_the_user_chose_stands_before_what_was_judged() -> None:
    twin = Twin()
    twin.add([Said(1, "x", 0, ("a",))])
    for state, importance in ((State(importance=0.9), 0.9), (State(importance=None), 0.5)):
        twin.index.set_states({1: state})
        found = candidates(twin.index, search(twin.index, asked({"a"})), ())
        assert list(found.importance) == pytest.approx([importance])


def test_the_best_are_few_and_the_newer_of_equals() -> None:
    twin = Twin()
    twin.add([Said(i, f"c{i}", 0, ("a",)) for i in range(1, 20)])
    found = candidates(twin.index, search(twin.index, asked({"a"}, limit=3)), ())
    assert sorted(found.ordinals) == [17, 18, 19]


def test_memories_without_vectors_may_follow_many_with_them() -> None:
    twin = Twin()
    twin.add([Said(i, "x", i, ("a",)) for i in range(1, 5)])
    rest = [Said(i, "x", i, ("b",)) for i in range(5, 4_000)]
    terms = term_rows(rest)
    twin.index.reserve(len(terms))
    twin.index.add(terms, None)
    found = twin.found({"b"}, twin.directions())
    assert {ordinal for ordinal, (_, cosine) in found.items() if cosine is not None} == {1, 2, 3, 4}
