"""How a search's hits are judged, and that each aim can be missed."""

from __future__ import annotations

import numpy as np
import pytest

from bench.dialogues import Kind, Probe
from bench.memory import judge, unasked
from bench.memory_client import Done
from bench.memory_figures import MEM0, Figures, Recalled, Took, aims, language_gap
from bench.memory_index import share_found
from bench.report import bars

PROBE = Probe(Kind.CURRENT, "Where?", frozenset({"ana/9"}), frozenset({"ana/2", "ana/5"}))


@pytest.mark.parametrize(
    ("ranked", "wanted"),
    [
        (["ana/9", "ana/2"], (True, True, 0)),
        (["ana/7", "ana/9"], (True, True, 0)),
        (["ana/2", "ana/9"], (True, False, 0)),
        (["ana/5"], (False, False, 0)),
        ([], (False, False, 0)),
        (["ben/9", "ana/9"], (True, True, 1)),
        (["anab/9"], (False, False, 1)),
    ],
)
def test_the_newest_has_to_come_before_every_older_one(ranked: list[str], wanted: tuple[bool, bool, int]) -> None:
    assert judge(PROBE, ranked, ranked, "ana") == wanted


def test_what_is_far_down_is_not_found_but_may_stand_before_the_stale() -> None:
    assert judge(PROBE, ["ana/1"], ["ana/1", "ana/9", "ana/2"], "ana") == (False, True, 0)
    assert judge(PROBE, ["ana/1"], ["ana/1", "ana/2", "ana/9"], "ana") == (False, False, 0)
    assert judge(PROBE, ["ana/1"], ["ana/1"], "ana") == (False, False, 0)


def good() -> Figures:
    """Figures that meet every aim."""
    kinds = {Kind.CURRENT: Recalled(100, 1.0, 1.0, 0), Kind.EVENT: Recalled(100, 1.0, 1.0, 0)}
    named = {
        "search with the question's embedding": 10.0,
        "search without it (asked again)": 5.0,
        "chat, no memories": 20.0,
        "chat, all memories": 21.0,
        "beside peers: search with the question's embedding": 10.0,
        "beside peers: the index alone, over the bus": 1.0,
    }
    return Figures(
        memories=10,
        embedded=Done(100, 1.0),
        imported=Done(100, 1.5),
        recalled={"en": dict(kinds), "fr": dict(kinds)},
        took=[Took.of(name, [ms]) for name, ms in named.items()],
        index_recall=1.0,
        peers={
            MEM0: {"with_embedding": {"p50_ms": 40.0, "p99_ms": 50.0}},
            "sqlite-vec": {"p50_ms": 20.0, "p99_ms": 30},
        },
    )


def missed(figures: Figures) -> list[str]:
    return [aim.name for aim in aims(figures) if aim.met is False]


def slower(figures: Figures, name: str) -> None:
    figures.took = [Took(t.name, (1000.0,)) if t.name == name else t for t in figures.took]


def test_good_figures_miss_nothing() -> None:
    assert missed(good()) == []
    assert all(aim.met for aim in aims(good()))


def test_each_aim_can_be_missed() -> None:
    stale, foreign, slow, french, embedding = good(), good(), good(), good(), good()
    stale.recalled["en"][Kind.CURRENT] = Recalled(100, 1.0, 0.9, 0)
    foreign.recalled["fr"][Kind.EVENT] = Recalled(100, 1.0, 1.0, 1)
    for name in [took.name for took in slow.took if took.name != "chat, no memories"]:
        slower(slow, name)
    french.recalled["fr"] = {kind: Recalled(100, 0.9, 1.0, 0) for kind in Kind}
    embedding.imported, embedding.index_recall = Done(100, 2.0), 0.98
    assert missed(stale) == ["changed facts not before the stale"]
    assert missed(foreign) == ["hits of other users"]
    assert missed(french) == ["French below English"]
    assert missed(embedding) == ["missed by the index", "embedder's rate over import's"]
    assert missed(slow) == [
        "search p50",
        "search p99",
        "without the embedding p50",
        "chat with all memories, more",
        "p99 of mem0's",
        "index of sqlite-vec's p50",
    ]


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    bare = Figures(memories=0)
    assert {aim.met for aim in aims(bare) if aim.name != "hits of other users"} == {None}
    assert language_gap({"en": {}, "fr": {}}) is None


def test_as_many_new_questions_as_are_wanted_are_found() -> None:
    for count in (10, 1900):
        assert len(set(unasked(count))) == count


def test_the_share_found_counts_what_is_equally_near() -> None:
    vectors = np.eye(6, dtype=np.float32)
    vectors[1] = vectors[0]
    assert share_found(vectors, vectors[0], [0, 1], 2) == 1.0
    assert share_found(vectors, vectors[0], [0, 3], 2) == 0.5
    assert share_found(vectors, vectors[0], [0, 0], 2) == 0.5
    assert share_found(vectors, vectors[0], [1], 1) == 1.0


def test_a_drawing_has_a_row_for_each_figure() -> None:
    drawn = bars([("a <search>", 1.0, 20.0), ("b", 0.0, 5.0)], ("p50 ms", "p99 ms"))
    assert drawn.count("<rect") == 4
    assert "a &lt;search&gt;" in drawn
