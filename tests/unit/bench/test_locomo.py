"""How LoCoMo's questions are judged, which methods are compared, and that the figures can be missed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.locomo.__main__ import FLOORS, aims
from bench.locomo.data import Asked, Conversation, Turn, read
from bench.locomo.least import Graded, by_least, by_way, graded, strangers
from bench.locomo.memory import PRODUCT
from bench.locomo.methods import PRODUCT_NAME, SHARE, by_product, disturbed, equal, left_out, methods, named
from bench.locomo.plain import Lexical, Meanings, Plain, bags, blended, convex, order, reciprocal_ranks
from bench.locomo.runs import Runs
from bench.locomo.scores import ALL, Score, by_kind, judge, margin, worst
from bench.locomo.tried import grams, tried, varied, without_names
from bench.locomo.vectors import Vectors
from libs.shared.contracts.runtime_settings import RecallWeights

FIRST = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)


class Hashed(Vectors):
    """Every word points somewhere of its own: texts are as near as the words that they share."""

    made = 0

    def _embedded(self, texts: list[str]) -> list[bytes]:
        self.made += len(texts)
        return [
            sum((_direction(word) for word in text.lower().split()), np.zeros(32)).astype("<f4").tobytes()
            for text in texts
        ]


def _direction(word: str) -> Any:
    seed = int.from_bytes(sha256(word.strip("?.!,").encode()).digest()[:4], "little")
    return np.random.default_rng(seed).standard_normal(32)


@pytest.fixture
def vectors(tmp_path: Path) -> Any:
    with Hashed(tmp_path / "kept") as made:
        yield made


def conversation(name: str, first: str, second: str) -> Conversation:
    """A week of two people, of whom each tells of a hobby and of a pet."""
    said = [
        (first, "I went hiking in the mountains yesterday with my brother."),
        (second, "Sounds lovely! Who came along?"),
        (second, "My grey parrot is called Otto."),
        (first, "My green parrot is called Kiwi."),
        (second, "I painted a lake last weekend."),
    ]
    turns = tuple(
        Turn(f"{name}-{n}", f"{name}-s{n}", speaker, text, FIRST + timedelta(days=n))
        for n, (speaker, text) in enumerate(said)
    )
    questions = (
        Asked(f"What is the name of {first}'s parrot?", "single-hop", frozenset({f"{name}-3"})),
        Asked(f"What is the name of {second}'s parrot?", "single-hop", frozenset({f"{name}-2"})),
        Asked(f"When did {second} paint a lake?", "temporal", frozenset({f"{name}-4"})),
    )
    return Conversation((first, second), turns, questions)


@pytest.fixture
def runs(vectors: Vectors) -> Runs:
    return Runs([conversation("a", "Ana", "Bo"), conversation("b", "Cleo", "Dan")], vectors)


@pytest.mark.parametrize(
    ("ranked", "wanted"),
    [
        (["a", "b"], Score(1.0, 1.0, 1.0)),
        (["x", "a"], Score(1.0, 0.5, 0.5)),
        (["x", "y", "b", "a"], Score(1.0, 1.0, 1 / 3)),
        ([*"0123456789", "a"], Score(0.0, 0.0, 0.0)),
        ([], Score(0.0, 0.0, 0.0)),
    ],
)
def test_evidence_counts_within_the_first_ten_and_the_earlier_the_better(ranked: list[str], wanted: Score) -> None:
    assert judge(ranked, {"a", "b"}) == wanted


def test_means_are_over_questions_and_by_their_kind() -> None:
    judged = [("temporal", Score(1, 1, 1)), ("multi-hop", Score(1, 0.5, 0.5)), ("temporal", Score(0, 0, 0))]
    assert by_kind(judged) == {
        ALL: Score(2 / 3, 0.5, 0.5),
        "multi-hop": Score(1, 0.5, 0.5),
        "temporal": Score(0.5, 0.5, 0.5),
    }
    assert margin([("temporal", Score(n % 2, 0.5, 1)) for n in range(100)]) == pytest.approx((0.098, 0, 0), abs=1e-3)


def test_the_worst_of_several_draws_is_told_figure_by_figure() -> None:
    assert worst([{ALL: Score(1, 0.2, 0.5)}, {ALL: Score(0.9, 0.4, 0.5)}]) == {ALL: Score(0.9, 0.2, 0.5)}


def test_a_file_gives_what_was_said_and_the_questions_that_have_evidence(tmp_path: Path) -> None:
    session = {
        "at": "1:56 pm on 8 May, 2023",
        "turns": [
            {"id": "D1:1", "speaker": "Ana", "text": "Look!", "caption": "a lake"},
            {"id": "D1:2", "speaker": "Bo", "text": "Nice."},
        ],
    }
    asked = [
        {"question": "one", "category": 4, "evidence": ["D1:2", "D9:9"]},
        {"question": "adversarial", "category": 5, "evidence": ["D1:1"]},
        {"question": "nowhere", "category": 1, "evidence": ["D9:9"]},
        {"question": "without", "category": 2},
    ]
    path = tmp_path / "7.json"
    path.write_text(json.dumps({"conversation": "7", "speakers": ["Ana", "Bo"], "sessions": [session], "qa": asked}))
    found = read(path)
    assert found.turns == (
        Turn("7-D1-1", "7-0", "Ana", "Look! [shares a picture: a lake]", FIRST),
        Turn("7-D1-2", "7-0", "Bo", "Nice.", FIRST + timedelta(seconds=20)),
    )
    assert found.questions == (Asked("one", "single-hop", frozenset({"7-D1-2"})),)


def test_each_part_of_the_score_is_left_out_once_and_nothing_else_changes() -> None:
    table = left_out()
    assert table.pop(PRODUCT_NAME) == RecallWeights()
    dropped = []
    for name, weights in table.items():
        changed = {part for part, value in weights if value != getattr(PRODUCT, part)}
        assert name == "without " + ", ".join(part for part in RecallWeights.model_fields if part in changed)
        assert all(getattr(weights, part) == 0 for part in changed)
        dropped.append(changed)
    assert set().union(*dropped) == set(RecallWeights.model_fields)
    assert len({frozenset(changed) for changed in dropped}) == len(dropped)


def test_equal_weights_keep_only_their_signs() -> None:
    found = equal()
    assert {getattr(found, name) for name, value in PRODUCT if value > 0 and name != "repetition"} == {1.0}
    assert found.asks == pytest.approx(-1 / 3)
    assert (equal("strength").strength, equal("strength").terms) == (PRODUCT.strength, 1.0)


def test_weights_are_disturbed_within_the_share_and_always_alike() -> None:
    drawn = disturbed(20)
    assert drawn == disturbed(20)
    assert len({weights.model_dump_json() for weights in drawn}) == 20
    for weights in drawn:
        RecallWeights.model_validate(weights.model_dump())
        for name, value in weights:
            assert abs(value - getattr(PRODUCT, name)) <= SHARE * abs(getattr(PRODUCT, name)) + 1e-9


def test_of_equals_the_newer_stands_first() -> None:
    assert order(np.array([0.5, 1.0, 0.5, 0.0])) == [1, 2, 0, 3]


def test_ranks_and_scaled_scores_are_summed_by_their_definitions() -> None:
    terms, meaning = np.array([4.0, 2.0, 0.0]), np.array([0.0, 0.1, 0.2])
    assert reciprocal_ranks(terms, meaning) == pytest.approx([1 / 61 + 1 / 63, 2 / 62, 1 / 63 + 1 / 61])
    assert convex(terms, meaning) == pytest.approx([0.5, 0.5, 0.5])
    assert convex(terms, np.ones(3)) == pytest.approx([0.5, 0.25, 0.0])


def test_a_rare_term_in_a_short_turn_says_most(vectors: Vectors) -> None:
    said = ("a lake", "a lake and a parrot", "hiking near a lake", "a parrot that sings all day long near the house")
    plain = Plain([Turn(str(n), "s", "Ana", text, FIRST) for n, text in enumerate(said)], vectors)
    assert order(plain.bm25(("parrot",)))[:2] == [1, 3]
    assert order(plain.bm25(("lake", "parrot")))[0] == 1
    assert not plain.bm25(("unknown",)).any()
    assert order(plain.cosine("hiking near a lake"))[0] == 2


def test_a_turn_is_found_by_the_terms_of_those_around_it_in_its_session() -> None:
    alone = bags(["lake", "parrot", "hiking", "lake lake"], str.split)
    together = blended(alone, ["s", "s", "s", "t"], {-1: 0.5, 1: 0.3})
    assert together == [
        {"lake": 1.0, "parrot": 0.3},
        {"lake": 0.5, "parrot": 1.0, "hiking": 0.3},
        {"parrot": 0.5, "hiking": 1.0},
        {"lake": 2.0},
    ]
    found = Lexical(alone, together).scores(["parrot"])
    assert order(found)[0] == 1
    assert [score > 0 for score in found] == [True, True, True, False]


def test_the_nearest_of_several_texts_speaks_for_a_turn(vectors: Vectors) -> None:
    meanings = Meanings([["a lake", "green parrot"], ["a blue lake"], ["lake"]], vectors)
    assert order(meanings.cosines("green parrot"))[0] == 0
    assert meanings.cosines("green parrot")[0] == pytest.approx(1.0)
    assert order(meanings.cosines("lake"))[0] == 2


def test_a_varied_choice_puts_off_what_repeats_a_better_one() -> None:
    turns = [Turn(name, "s", "Ana", name, FIRST) for name in ("ab", "abx", "c")]
    ranked = list(zip(turns, (1.0, 0.9, 0.8), strict=True))

    def alike(one: Turn, other: Turn) -> float:
        return float(one.text[0] == other.text[0])

    assert [turn.id for turn in varied(ranked, alike, 0.0)] == ["ab", "abx", "c"]
    assert [turn.id for turn in varied(ranked, alike, 0.3)] == ["ab", "c", "abx"]


def test_names_are_taken_out_of_a_question(runs: Runs) -> None:
    found = without_names("Is Ana's lake Bo's or Anabel's?", runs.conversations[0])
    assert found.split() == ["Is", "lake", "or", "Anabel's?"]


def test_all_that_was_tried_is_measured(runs: Runs) -> None:
    rows = dict(tried(runs, 2))
    assert len(rows) == 7 + 8 + 2 + 4
    assert rows["cosine: turn / in the first person (kept)"] == dict(methods(runs, 2))["cosine, question read"]
    assert rows["BM25: turn, k1 1.2"] == dict(methods(runs, 2))["BM25, question read"]


def test_four_characters_at_a_time() -> None:
    assert grams("Élan de parrot") == ["elan", "de", "parr", "arro", "rrot"]


def test_what_was_embedded_once_is_kept(tmp_path: Path) -> None:
    with Hashed(tmp_path) as first:
        made = first.of(["one", "two", "one"])
        assert first.made == 2
    with Hashed(tmp_path) as second:
        assert second.of(["two", "one"]) == made
        assert second.made == 0


def test_the_products_own_ranking_is_what_is_measured(runs: Runs) -> None:
    found = by_kind(by_product(runs, PRODUCT))
    assert found[ALL] == Score(1.0, 1.0, 1.0)
    blind = PRODUCT.model_copy(update={name: 0.0 for name, _ in PRODUCT} | {"asks": -1.0})
    assert by_kind(by_product(runs, blind))[ALL].mrr < 1.0


def test_who_speaks_decides_between_two_parrots(runs: Runs) -> None:
    for case, told in zip(runs.cases, ("a-3", "a-2"), strict=False):
        memory, evidence = runs.memory(case), runs.evidence(case, 100)
        assert memory.best(evidence, PRODUCT)[0] == told
        wrong = PRODUCT.model_copy(update={"speaker": -PRODUCT.speaker})
        assert memory.best(evidence, wrong)[0] != told


def test_one_memory_holds_the_turns_of_all(runs: Runs) -> None:
    assert len(runs.memory(runs.cases[0], merged=True).turns) == 10
    assert by_kind(by_product(runs, PRODUCT, merged=True))[ALL].any_evidence == 1.0


def test_every_table_has_the_product_and_only_wanted_ones_are_measured(runs: Runs) -> None:
    assert [name for name, _ in named(["weights", "least"], runs, 2)] == ["weights"]
    rows = dict(methods(runs, 2))
    assert list(rows)[-1] == PRODUCT_NAME
    assert len(rows) == 9
    assert all(set(scores) == {ALL, "single-hop", "temporal"} for scores in rows.values())


def test_each_floor_can_be_missed() -> None:
    assert all(aim.met for aim in aims(FLOORS))
    for place in range(3):
        lower = Score(*(floor - 0.001 * (n == place) for n, floor in enumerate(FLOORS)))
        assert [aim.met for aim in aims(lower)] == [n != place for n in range(3)]
    assert "≥ 0.85" in str(aims(FLOORS)[0])


GRADES = Graded(
    gold=[[(0.5, 0.0), (0.1, 0.2)], [], [(0.3, 0.3)]],
    unrelated=[[(0.0, 0.1)], [(0.4, 0.0), (0.1, 0.1)], [], []],
    strangers=[],
)


def test_a_least_keeps_gold_and_lets_in_what_reaches_it() -> None:
    rows = {least: rest for least, *rest in by_least(GRADES)}
    assert rows[0.2] == pytest.approx([1.0, 1.0, 0.25, None])
    assert rows[0.45] == pytest.approx([2 / 3, 1.0, 0.0, None])
    assert rows[0.5][:2] == pytest.approx([2 / 3, 1.0])
    assert rows[0.35][2] == 0.25


def test_each_way_to_join_evidence_is_held_to_the_same_rate() -> None:
    ways = {(name, rate): (least, kept) for name, rate, least, kept in by_way(GRADES)}
    assert ways["terms alone", 0.05][1] == pytest.approx(1 / 3)
    assert ways["meaning alone", 0.05][1] == pytest.approx(2 / 3)
    assert all(least <= 0.4 for least, _ in ways.values())


def test_strangers_questions_have_the_names_of_this_memory(runs: Runs) -> None:
    assert list(strangers(runs.conversations, 0)) == ["What is the name of Ana's parrot?"]
    assert list(strangers(runs.conversations[:1], 0)) == []


def test_gold_is_graded_by_what_stands_in_a_prompt(runs: Runs) -> None:
    found = graded(runs)
    assert [len(grades) for grades in found.gold] == [1] * len(runs.cases)
    assert len(found.unrelated) == 2 * 26
    assert len(found.strangers) == 2
    assert all(0 <= value <= 1 for some in (*found.gold, *found.strangers) for grade in some for value in grade)
