"""Every text that is like an earlier one is found, and no other: the same as by looking at all pairs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.curation.likeness import Alike, Shingles, jaccard, normal, shingles

SETS = st.lists(st.frozensets(st.tuples(st.sampled_from("abcdefgh")), max_size=8), min_size=1, max_size=25)


@settings(max_examples=100, deadline=None)
@given(sets=SETS, least=st.sampled_from([0.2, 0.5, 0.6, 0.75, 0.8, 1.0]))
def test_what_is_alike_is_what_all_pairs_say(sets: list[Shingles], least: float) -> None:
    index = Alike(sets, least)
    added: list[Shingles] = []
    for one in sets:
        expected = any(jaccard(one, other) >= least for other in added)
        assert index.knows(one) == expected
        index.add(one)
        added.append(one)


def test_an_index_that_looks_at_too_few_runs_is_noticed() -> None:
    """A mutation of the test above: a prefix that is one run too short."""

    class Short(Alike):
        def _prefix(self, one: Shingles) -> list[tuple[str, ...]]:
            return super()._prefix(one)[:-1]

    sets = [frozenset({("a",), ("b",), ("c",), ("d",)}), frozenset({("e",), ("b",), ("c",), ("d",)})]
    right, short = Alike(sets, 0.6), Short(sets, 0.6)
    for index in (right, short):
        index.add(sets[0])
    assert (right.knows(sets[1]), short.knows(sets[1])) == (True, False)


def test_case_accents_and_punctuation_make_no_other_text() -> None:
    assert normal("Où est l'Été ?") == normal("ou est l’ete")
    assert shingles("The cat sat on the mat!") == shingles("the cat sat, on the MAT")


def test_one_word_of_many_makes_texts_alike_and_half_of_them_doesn_t() -> None:
    long = " ".join(f"word{at}" for at in range(40))
    assert jaccard(shingles(long), shingles(long.replace("word39", "other"))) > 0.9
    assert jaccard(shingles(long), shingles(" ".join(long.split()[:20] + ["x"] * 20))) < 0.5
    assert jaccard(frozenset(), frozenset()) == 0.0
